"""WHERE tasks wait and WHO is alive.

``keys`` names everything in Redis; ``lua/`` has one transition a file; ``TaskQueue`` calls them;
``Lane`` is the same for a worker in a hurry; ``Registry`` knows the workers.
"""

from labkit.queue.lane import Lane
from labkit.queue.registry import Registry, WorkerInfo
from labkit.queue.task_queue import Depth, TaskQueue

__all__ = ["Depth", "Lane", "Registry", "TaskQueue", "WorkerInfo"]
