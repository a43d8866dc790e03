"""WHO does tasks.

A worker is two processes. The *supervisor* talks for it: registers, beats, notices when the other
dies or overruns, drains on SIGTERM. The *runner* does the work: claims, runs, acknowledges. So no
task, whatever it does to its process, can stop the heartbeat or take the worker down with it.
"""
