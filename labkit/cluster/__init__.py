"""WHERE workers run: processes or containers, behind the same verbs.

``Cluster`` is the protocol, ``LocalCluster`` and ``DockerCluster`` keep it, and one contract suite
tests both. Nothing they start outlives ``close()``, an exception, Ctrl-C or a dead kernel.
"""
