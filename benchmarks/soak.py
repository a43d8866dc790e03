"""``make soak``: real work under a seeded plan of faults; then count every task, twice.

Workers, runners and supervisors are killed, workers are frozen (some beyond their lease, so that
they come back as zombies), and Redis itself is killed. What is counted at the end comes from two
sources that know nothing of each other: the results that the client received, each compared with
what it must be, and the ``done`` events in Redis.

One setting differs from the shipped ones: ``max_crashes``. As shipped, a task that loses its worker
three times is taken for the cause and becomes a dead letter; here it is innocent.

Redis is killed with SIGKILL. Its append-only file is synced once a second, but what was written to
it survives the death of the process: only a power failure could lose that second, and none is
tested here.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis

from labkit import batch
from labkit.cluster.local_cluster import LocalCluster
from labkit.connection import connect
from labkit.errors import LabkitError
from labkit.measure import events
from labkit.queue import TaskQueue, keys
from labkit.settings import Settings
from labkit.task import Work

SHIPPED = Settings(max_crashes=1_000_000)
BATCH = "soak"
PATIENCE = 60  # attempts of each call of the client while Redis is away
AHEAD = 100  # tasks that may be submitted before the faults that come earlier have happened
_AWAY = (redis.RedisError, LabkitError, OSError)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is broken when, as planned from the seed.

    Attributes:
        after: once so many results have come in.
        what: "worker", "runner" or "supervisor" to kill; "freeze", or "redis" to kill.
        chance: which of the workers that are up then, from 0 to 1.
        for_s: how long a freeze or an outage lasts.
    """

    after: int
    what: str
    chance: float
    for_s: float = 0.0


def plan(
    seed: int, tasks: int, *, kills: int, freezes: int, redis_kills: int, lease_s: float
) -> list[Fault]:
    """The faults of a run, in order. Freezes last from a fraction of a lease to nearly two."""
    draw = random.Random(seed)
    whats = [draw.choice(("worker", "worker", "runner", "supervisor")) for _ in range(kills)]
    whats += ["freeze"] * freezes + ["redis"] * redis_kills
    found = []
    for what in whats:
        for_s = {"freeze": draw.uniform(0.2, 1.8) * lease_s, "redis": draw.uniform(0.1, 1.5)}
        after = draw.randrange(round(tasks * 0.01), max(1, round(tasks * 0.97)))
        found.append(Fault(after, what, draw.random(), for_s.get(what, 0.0)))
    return sorted(found, key=lambda fault: fault.after)


def work(draw: random.Random, n: int) -> tuple[Work, bytes]:
    """One task, and the result that it must have."""
    kind = draw.random()
    if kind < 0.5:
        return Work(name="sleep", args={"seconds": round(draw.uniform(0.005, 0.08), 4)}), b""
    if kind < 0.9:
        text = f"task {n} " * draw.choice((1, 1, 1, 200))  # some too long to wait on the board
        return Work(name="echo", args={"text": text}), text.encode()
    return Work(name="noop"), b""


class Soak:
    """One run."""

    def __init__(
        self, faults: list[Fault], tasks: int, seed: int, *, workers: int, settings: Settings
    ) -> None:
        self._faults, self._tasks, self._seed = faults, tasks, seed
        self._workers = workers
        self._cluster = LocalCluster(workers, settings=settings)
        # batch.run calls nothing that may not be repeated, so its client may be patient.
        self._queue = TaskQueue(connect(self._cluster.redis_url, retries=PATIENCE), settings)
        self._received: Counter[int] = Counter()
        self._wrong: list[str] = []
        self._done_faults = 0
        self._happened: Counter[str] = Counter()
        self._frozen: dict[str, float] = {}  # worker -> when it is woken
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._trouble: list[str] = []

    def run(self) -> dict[str, Any]:
        start_s = time.monotonic()
        threads = [
            threading.Thread(target=self._guarded, args=(each,))
            for each in (self._break, self._mend)
        ]
        try:
            self._cluster.wait_ready()
            for thread in threads:
                thread.start()
            expected: dict[int, bytes] = {}
            for result in batch.run(self._queue, self._items(expected), batch_id=BATCH):
                self._received[result.index] += 1
                if result.error or result.data != expected[result.index]:
                    self._wrong.append(f"{result.index}: {result.error or 'another result'}")
            threads[0].join(60)
            self._over.set()
            for thread in threads:
                thread.join(30)
            self._settle()
            return self._verdict(time.monotonic() - start_s)
        finally:
            self._over.set()
            self._cluster.close()

    def _items(self, expected: dict[int, bytes]) -> Iterator[batch.Item]:
        draw = random.Random(self._seed + 1)
        for n in range(self._tasks):
            while self._due(n - AHEAD) > self._done_faults and not self._over.is_set():
                time.sleep(0.005)  # let the faults keep up with the work
            made, expected[n] = work(draw, n)
            yield batch.Item(f"#{n}", made)

    def _due(self, received: int) -> int:
        return sum(fault.after <= received for fault in self._faults)

    # Faults.

    def _break(self) -> None:
        for fault in self._faults:
            while self._received.total() < fault.after and not self._over.is_set():
                time.sleep(0.002)
            self._try_until_done(fault)
            self._done_faults += 1

    def _try_until_done(self, fault: Fault) -> None:
        while not self._over.is_set():
            try:
                if fault.what == "redis":
                    self._restart_redis(fault.for_s)
                elif not self._harm(fault):
                    time.sleep(0.01)
                    continue
            except _AWAY:  # the worker, or Redis, was gone at that moment
                time.sleep(0.01)
                continue
            self._happened[fault.what] += 1
            return

    def _restart_redis(self, for_s: float) -> None:
        assert self._cluster.redis
        with self._lock:
            self._cluster.redis.kill()
            time.sleep(for_s)
            self._cluster.redis.start()

    def _harm(self, fault: Fault) -> bool:
        with self._lock:
            self._start_missing()
        alive = {worker.id for worker in self._cluster.registry.alive()}
        up = [w for w in self._cluster.workers() if w in alive and w not in self._frozen]
        if len(up) < 2:  # one stays, so that the run comes to an end
            return False
        victim = up[int(fault.chance * len(up))]
        if fault.what == "freeze":
            self._cluster.pause(victim)
            self._frozen[victim] = time.monotonic() + fault.for_s
        elif fault.what == "worker":
            self._cluster.kill(victim)
        else:
            pid = self._cluster.pid(victim)
            if fault.what == "runner":
                children = psutil.Process(pid).children()
                if not children:
                    return False
                pid = children[0].pid
            os.kill(pid, signal.SIGKILL)
        return True

    def _start_missing(self) -> None:
        running = self._cluster.workers()
        while len(running) < self._workers:
            self._cluster.start()
            running = self._cluster.workers()

    def _mend(self) -> None:
        """Wake who was frozen long enough, and start who is missing."""
        while not self._over.is_set() or self._frozen:
            time.sleep(0.02)
            for worker, until_s in list(self._frozen.items()):
                if time.monotonic() > until_s or self._over.is_set():
                    with contextlib.suppress(*_AWAY):  # it wakes first; then that is written down
                        self._cluster.resume(worker)
                    del self._frozen[worker]
            if not self._over.is_set():
                with contextlib.suppress(*_AWAY), self._lock:
                    self._start_missing()

    # Counting.

    def _settle(self) -> None:
        """A zombie may still be about to have its late result refused."""
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            depth = self._queue.depth()
            if depth.waiting == depth.leased == depth.delayed == 0:
                return
            time.sleep(0.05)

    def _verdict(self, taken_s: float) -> dict[str, Any]:
        history = list(events.read(self._queue.client))
        ids = {f"{BATCH}:{n}" for n in range(self._tasks)}
        done = Counter(task for e in history if e.kind == "done" for task in e.tasks)
        kinds = Counter(event.kind for event in history)
        counters = self._queue.client.hgetall(keys.batch(BATCH))
        depth = self._queue.depth()
        left_over = sum(1 for _ in self._queue.client.scan_iter(keys.held("*")))
        return {
            "seed": self._seed,
            "tasks": self._tasks,
            "seconds": round(taken_s, 1),
            "faults": dict(sorted(self._happened.items())),
            "lost": sorted(
                {name for name in ids if not done[name]}
                | {f"{BATCH}:{n}" for n in range(self._tasks) if not self._received[n]}
            ),
            "duplicated": {
                **{name: count for name, count in done.items() if count > 1},
                **{f"result {n}": count for n, count in self._received.items() if count > 1},
            },
            "unexpected": sorted(set(done) - ids) + self._wrong,
            "left_over": {
                "waiting": depth.waiting,
                "leased": depth.leased,
                "delayed": depth.delayed,
                "dead": depth.dead,
                "held": left_over,
            },
            "batch": {name.decode(): int(value) for name, value in counters.items()},
            "requeued": kinds["requeued"],
            "fenced": kinds["fenced"],
            "trouble": self._trouble,
        }

    def _guarded(self, each: Any) -> None:
        try:
            each()
        except Exception as error:
            self._trouble.append(f"{type(error).__name__}: {error}")
            self._over.set()


def passed(found: dict[str, Any], planned: int) -> bool:
    """Nothing lost, nothing twice, nothing strange, nothing left, and every fault happened."""
    bad = found["lost"] or found["duplicated"] or found["unexpected"] or found["trouble"]
    counted = found["batch"].get("done") == found["tasks"] and found["batch"].get("left") == 0
    return (
        not bad
        and counted
        and not any(found["left_over"].values())
        and sum(found["faults"].values()) == planned
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("tasks", 10_000), ("kills", 200), ("freezes", 30), ("redis-kills", 10)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--output", type=Path, help="where to write the JSON besides")
    given = parser.parse_args()
    faults = plan(
        given.seed,
        given.tasks,
        kills=given.kills,
        freezes=given.freezes,
        redis_kills=given.redis_kills,
        lease_s=SHIPPED.lease_s,
    )
    print(f"seed {given.seed}; the plan, by results received:", flush=True)
    for fault in faults:
        lasting = f" for {fault.for_s:.1f} s" if fault.for_s else ""
        print(f"  {fault.after:6} {fault.what}{lasting}")
    soak = Soak(faults, given.tasks, given.seed, workers=given.workers, settings=SHIPPED)
    found = soak.run()
    text = json.dumps(found, indent=1)
    print(text)
    if given.output:
        given.output.write_text(text + "\n", encoding="utf-8")
    good = passed(found, len(faults))
    print("PASSED" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
