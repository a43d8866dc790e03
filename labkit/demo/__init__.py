"""``labkit demo``: run a cluster, break it, show it recover, and judge.

``photos`` is what it works on, ``narrator`` says what happens while it happens, ``director`` breaks
and mends, ``verdict`` judges from the events, ``show`` puts it together.
"""
