"""Other queues, each set up as its users would call fair. See ../README.md for how and why.

Each ``*_peer`` module has the tasks ``hello``, ``noop`` and ``image``, is a
worker with ``work()``, and offers the client ``greet(n)``, ``noops(n)`` and ``images(inputs)``.
"""
