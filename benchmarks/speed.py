"""What the queue itself costs: tasks that do nothing."""

import random
import statistics
import time
from collections import defaultdict
from typing import Any

import floor
import msgspec
import sides

from labkit import batch
from labkit.cluster.redis_server import RedisServer
from labkit.connection import connect
from labkit.measure import events
from labkit.queue import TaskQueue, keys
from labkit.settings import Settings
from labkit.task import Work

NOOP = Work(name="noop")
CHUNK = 500


def enqueue(queue: TaskQueue, count: int, name: str) -> None:
    for start in range(0, count, CHUNK):
        queue.enqueue(name, [NOOP] * min(CHUNK, count - start), first=start)


def end_to_end(queue: TaskQueue, count: int, name: str) -> float:
    """Tasks a second from the first submit until the batch is known to be done."""
    start_s = time.perf_counter()
    enqueue(queue, count, name)
    while queue.client.hget(keys.batch(name), "left") != b"0":
        time.sleep(0.002)
    return count / (time.perf_counter() - start_s)


def noop(options: Any) -> dict[str, list[float]]:
    """Tasks a second, end to end, of every side; a round each in turn."""
    found: dict[str, list[float]] = defaultdict(list)
    count = options.tasks
    for _ in range(options.repeats):
        with sides.floor(options.redis) as server:
            client = server.client()
            floor.end_to_end(client, 600)
            found["R"].append(floor.end_to_end(client, count))
        for side, settings in (("labkit, one by one", Settings(slice_max=1)), ("labkit", None)):
            with sides.labkit(options.redis, settings) as cluster:
                end_to_end(cluster.queue, 600, "warm")
                found[side].append(end_to_end(cluster.queue, count, "b"))
                if settings is None:
                    start_s = time.perf_counter()
                    results = sum(r.ok for r in batch.drill(cluster.queue, [NOOP] * count))
                    assert results == count
                    found["labkit, results read"].append(count / (time.perf_counter() - start_s))
        for peer in options.peers:
            done = sides.peer(peer, "noop", options.peer_tasks, options.redis)
            found[peer].append(options.peer_tasks / done["seconds"])
    return found


def submit(options: Any) -> dict[str, list[float]]:
    """Tasks a second into the queue, 500 a call, while nobody takes them out."""
    found: dict[str, list[float]] = defaultdict(list)
    count = options.submits
    with sides.redis_server(options.redis) as ours, sides.redis_server(options.redis) as theirs:
        queue, client = TaskQueue(ours.client()), theirs.client()
        for _ in range(2 * options.repeats):
            client.flushall()
            start_s = time.perf_counter()
            floor.submit(client, count, "s")
            found["R"].append(count / (time.perf_counter() - start_s))
            queue.client.flushall()
            start_s = time.perf_counter()
            enqueue(queue, count, "s")
            found["labkit"].append(count / (time.perf_counter() - start_s))
    return found


def round_trip(options: Any) -> dict[str, list[float]]:
    """Seconds until the client knows the result of one task, in blocks by turns."""
    found: dict[str, list[float]] = defaultdict(list)
    with sides.floor(options.redis) as server, sides.labkit(options.redis) as cluster:
        floor_client = server.client()
        ways = {
            "R": lambda n: floor.round_trip(floor_client, n),
            "labkit, waiting for the event": By(cluster.redis_url).event,
            "labkit, polling": By(cluster.redis_url).poll,
        }
        number = 0
        for block in range(options.blocks + 1):
            for way, once in ways.items():
                for _ in range(options.block):
                    number += 1
                    taken_s = once(number)
                    if block:  # the first is for warming up
                        found[way].append(taken_s)
    return found


class By:
    """A client that does one task at a time and wants to know at once."""

    def __init__(self, url: str) -> None:
        self._queue = TaskQueue(connect(url))
        self._client: Any = self._queue.client
        self._seen = events.last_id(self._client)

    def event(self, n: int) -> float:
        """Sleep on the stream of events until the ``done`` of this task goes by."""
        name = f"event-{n}"
        start_s = time.perf_counter()
        self._queue.enqueue(name, [NOOP])
        wanted = f"{name}:0".encode()
        while True:
            for entry, raw in self._client.xread({keys.EVENTS: self._seen}, block=1000)[0][1]:
                self._seen = entry
                if raw[b"kind"] == b"done" and wanted in raw[b"tasks"].split():
                    return time.perf_counter() - start_s

    def poll(self, n: int) -> float:
        """Ask for the state of the task all the time, as R's client does."""
        name = f"poll-{n}"
        start_s = time.perf_counter()
        self._queue.enqueue(name, [NOOP])
        key = keys.task(f"{name}:0")
        while self._client.hget(key, "state") != b"done":
            pass
        return time.perf_counter() - start_s


def claim_cost(options: Any) -> dict[str, Any]:
    """What a claim costs by backlog, and the bytes of a waiting task.

    All backlogs are there at once, each in a Redis of its own, and are asked in turn. A plain HGET
    of a random task shows what the memory of the machine makes of so much data.
    """
    settings = Settings(max_backlog=10 * max(options.backlogs))
    found: dict[str, Any] = {"bytes": 0.0}
    payload = len(msgspec.json.encode(NOOP))
    servers = [RedisServer(binary=options.redis) for _ in options.backlogs]
    try:
        queues = [TaskQueue(server.client(), settings) for server in servers]
        pairs = list(zip(queues, options.backlogs, strict=True))
        for queue, backlog in pairs:
            before = queue.client.info("memory")["used_memory"]
            enqueue(queue, backlog, "backlog")
            queue.client.xtrim(keys.EVENTS, maxlen=0)
            after = queue.client.info("memory")["used_memory"]
            found["bytes"] = (after - before) / backlog - payload
        for size in (1, 32):
            figures = ("round trip", "script", "plain HGET")
            spent: dict[str, dict[int, list[float]]]
            spent = {figure: {backlog: [] for backlog in options.backlogs} for figure in figures}
            for _ in range(options.claim_rounds):
                random.shuffle(pairs)
                for queue, backlog in pairs:
                    costs = _costs_us(queue, size, backlog)
                    for figure, cost in zip(figures, costs, strict=True):
                        spent[figure][backlog].append(cost)
            found[size] = spent
    finally:
        for server in servers:
            server.close()
    return found


def _costs_us(queue: TaskQueue, size: int, backlog: int) -> tuple[float, float, float]:
    """Claim a while, then give back, so that the backlog stays: as a client and Redis see it."""
    held, taken_s = [], []
    queue.client.config_resetstat()
    for _ in range(max(5, 160 // size)):
        start_s = time.perf_counter()
        held += queue.claim("w", size)
        taken_s.append(time.perf_counter() - start_s)
    script = queue.client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"]
    queue.recall("w", [(claim.id, claim.token) for claim in held])
    queue.client.config_resetstat()
    for _ in range(100):
        queue.client.hget(keys.task(f"backlog:{random.randrange(backlog)}"), "body")
    plain = queue.client.info("commandstats")["cmdstat_hget"]["usec_per_call"]
    return statistics.median(taken_s) * 1e6, float(script), float(plain)
