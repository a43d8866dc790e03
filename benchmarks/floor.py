"""The naive floor: a list, a hash, and redis-py with hiredis. As a program it is one worker.

Nothing is acknowledged, nobody is watched: a worker that dies takes its task with it.
"""

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import redis

TASKS, RESULTS = "floor:tasks", "floor:results"
CHUNK = 500


def worker() -> None:
    client: Any = redis.Redis.from_url(os.environ["REDIS_URL"], protocol=2)
    client.ping()
    (Path(os.environ["READY"]) / str(os.getpid())).touch()
    while True:
        message = client.brpop([TASKS], timeout=5)
        if message:
            task = msgspec.json.decode(message[1])
            client.hset(RESULTS, task["id"], b"")


def submit(client: Any, count: int, batch: str) -> None:
    encode = msgspec.json.Encoder().encode
    for start in range(0, count, CHUNK):
        with client.pipeline(transaction=False) as pipe:
            for n in range(start, min(start + CHUNK, count)):
                pipe.lpush(TASKS, encode({"id": f"{batch}:{n}", "name": "noop"}))
            pipe.execute()


def end_to_end(client: Any, count: int) -> float:
    """Tasks a second from the first submit until every result is there."""
    client.delete(RESULTS)
    start_s = time.perf_counter()
    submit(client, count, "r")
    while client.hlen(RESULTS) < count:
        time.sleep(0.002)
    return count / (time.perf_counter() - start_s)


def round_trip(client: Any, n: int) -> float:
    """Seconds from submit until the client has the result of one task. It polls all the time."""
    name = f"one:{n}"
    body = msgspec.json.encode({"id": name, "name": "noop"})
    start_s = time.perf_counter()
    client.lpush(TASKS, body)
    while client.hget(RESULTS, name) is None:
        pass
    return time.perf_counter() - start_s


if __name__ == "__main__":
    worker()
