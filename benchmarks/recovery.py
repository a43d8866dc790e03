"""How soon a fault is made good, and how fairly work is shared."""

import time
from collections import Counter, defaultdict
from typing import Any

import pictures
import sides

from labkit import batch
from labkit.cluster.local_cluster import LocalCluster
from labkit.measure import events
from labkit.queue import TaskQueue
from labkit.settings import Settings
from labkit.task import Work

# The tasks here are killed over and over; a third crash would make them dead letters.
PATIENT = Settings(max_crashes=1_000_000)
NAP = Work(name="sleep", args={"seconds": 0.05})


def kills(options: Any) -> dict[str, list[float]]:
    """Seconds from SIGKILL until the task that was running is in the queue again."""
    with LocalCluster(sides.WORKERS, settings=PATIENT, cuttable=False) as cluster:
        cluster.wait_ready()
        _fill(cluster.queue, 60 + options.kills * 70)
        for n in range(options.kills):
            victim = cluster.workers()[n % sides.WORKERS]
            sides.until(lambda name=victim: _is_busy(cluster, name), every_s=0.005)
            cluster.kill(victim)
            cluster.start(victim)
            cluster.wait_ready()
        return {"kill": _after(cluster, "kill")}


def freezes(options: Any) -> list[float]:
    """Seconds from SIGSTOP until the running task is in the queue again: many at once.

    Workers only sleep here, so that a dozen do not crowd two processors. One stays to notice.
    """
    with LocalCluster(options.freezes_at_once + 1, settings=PATIENT, cuttable=False) as cluster:
        cluster.wait_ready()
        rest = cluster.workers()[1:]
        for _ in range(options.freeze_rounds):
            _fill(cluster.queue, (len(rest) + 1) * 200)
            for victim in rest:
                sides.until(lambda name=victim: _is_busy(cluster, name), every_s=0.005)
                cluster.pause(victim)
                time.sleep(0.13)  # at different times between two beats
            time.sleep(PATIENT.lease_s + PATIENT.reap_s + 2)
            for victim in rest:
                cluster.resume(victim)
            time.sleep(1.5)
        return _after(cluster, "pause")


def starts(options: Any) -> dict[str, list[float]]:
    """Seconds from the command: until three workers are ready, and a restarted one's first task."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.repeats):
        start_s = time.perf_counter()
        with LocalCluster(sides.WORKERS, settings=PATIENT) as cluster:
            cluster.wait_ready()
            found["ready"].append(time.perf_counter() - start_s)
            _fill(cluster.queue, 600)
            victim = cluster.workers()[0]
            cluster.kill(victim)
            cluster.restart(victim)
            at_s = [
                e.at_s for e in events.read(cluster.client) if e.fields.get("fault") == "restart"
            ]
            sides.until(lambda name=victim, t=at_s[-1]: _done_since(cluster, name, t), every_s=0.01)
            found["first task"].append(_done_since(cluster, victim, at_s[-1])[0] - at_s[-1])
    return found


def shares(options: Any) -> dict[str, list[list[float]]]:
    """Percent of the tasks that each worker did."""
    found: dict[str, list[list[float]]] = defaultdict(list)
    photos = pictures.samples()
    for _ in range(options.share_runs):
        with LocalCluster(sides.WORKERS, cuttable=False) as cluster:
            cluster.wait_ready()
            nap = Work(name="sleep", args={"seconds": 0.02})
            found["equal"].append(_percent(batch.drill(cluster.queue, [nap] * 300)))
            inputs = [photos[n % len(photos)] for n in range(300)]
            found["images"].append(_percent(batch.process(cluster.queue, inputs, ("sharpen",))))
        with LocalCluster(2, cuttable=False) as cluster:  # two: a processor for each
            cluster.wait_ready()
            cluster.slow("worker-2", 0.25)
            time.sleep(0.2)
            results = batch.process(cluster.queue, inputs[:200], pictures.FILTERS)
            found["slowed"].append(_percent(results, "worker-2"))
    return found


def _percent(results: Any, *names: str) -> list[float]:
    done = Counter(result.worker for result in results)
    return [100 * done[name] / done.total() for name in names or sorted(done)]


def _fill(queue: TaskQueue, count: int) -> None:
    queue.enqueue(f"naps-{time.monotonic_ns()}", [NAP] * count)


def _is_busy(cluster: LocalCluster, worker: str) -> bool:
    return bool(cluster.client.zcard(f"worker:{worker}:tasks"))


def _after(cluster: LocalCluster, fault: str) -> list[float]:
    """From each fault to the requeue of its worker's task, by the clock of Redis."""
    since: dict[str, float] = {}
    found = []
    for event in events.read(cluster.client):
        if event.fields.get("fault") == fault:
            since[event.worker] = event.at_s
        elif event.kind == "requeued" and event.worker in since:
            found.append(event.at_s - since.pop(event.worker))
    return found


def _done_since(cluster: LocalCluster, worker: str, at_s: float) -> list[float]:
    return [
        event.at_s
        for event in events.read(cluster.client)
        if event.kind == "done" and event.worker == worker and event.at_s >= at_s
    ]
