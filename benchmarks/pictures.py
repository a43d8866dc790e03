"""Images: what the work itself allows, and what each queue makes of it."""

import functools
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import sides

from labkit import batch
from labkit.cluster.local_cluster import WORKER_ENVIRONMENT
from labkit.demo.photos import load
from labkit.filters import decode, encode, validate
from labkit.filters._opencv import cv2

FILTERS = ("sharpen", "edges")


def work(data: bytes) -> bytes:
    """What each task does, in every queue: the code of labkit's own worker."""
    pipeline = validate(FILTERS, {})
    return encode(pipeline(decode(data, max_bytes=32_000_000, max_pixels=25_000_000)), "jpg")


def photographs(count: int) -> list[bytes]:
    photos = samples()
    return [photos[n % len(photos)] for n in range(count)]


@functools.cache
def samples() -> list[bytes]:
    return [photo.data for photo in load()]


def images(options: Any) -> tuple[dict[str, list[float]], list[float]]:
    """Images a second of every side, a round each in turn; and the MB that each worker uses."""
    found: dict[str, list[float]] = defaultdict(list)
    memory_mb: list[float] = []
    inputs = photographs(options.images)
    expected = {data: work(data) for data in set(inputs)}
    for _ in range(options.repeats):
        for count in (2, 3):
            found[f"ceiling, {count} processes"].append(_ceiling(count, options.images))
        with sides.labkit(options.redis) as cluster:
            for _result in batch.process(cluster.queue, inputs[:30], FILTERS):
                pass
            start_s = time.perf_counter()
            results = list(batch.process(cluster.queue, inputs, FILTERS))
            found["labkit"].append(len(inputs) / (time.perf_counter() - start_s))
            assert all(r.data == expected[inputs[r.index]] for r in results), "an image differs"
            assert len(results) == len(inputs)
            memory_mb += [cluster.memory_mb(worker) for worker in cluster.workers()]
        for peer in options.peers:
            done = sides.peer(peer, "images", options.images, options.redis, photos=samples())
            found[peer].append(options.images / done["seconds"])
        if options.peers:
            best = max(options.peers, key=lambda name: found[name][-1])
            extra = {"MALLOC_TOP_PAD_": WORKER_ENVIRONMENT["MALLOC_TOP_PAD_"]}
            done = sides.peer(
                best, "images", options.images, options.redis, photos=samples(), **extra
            )
            found["best peer, labkit's allocator setting"].append(options.images / done["seconds"])
    return found, memory_mb


def _ceiling(count: int, total: int) -> float:
    """Decode, filter, encode in so many processes that do nothing else."""
    argv = [sys.executable, __file__, str(total // count)]
    environment = os.environ | WORKER_ENVIRONMENT
    running = [
        subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(count)
    ]
    for process in running:
        process.stdout.readline()  # it has loaded all and is warm
    for process in running:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    spans = [json.loads(process.communicate()[0]) for process in running]
    taken_s = max(end for _, end in spans) - min(start for start, _ in spans)
    return total // count * count / taken_s


def main(count: int) -> None:
    cv2.setNumThreads(1)
    inputs = photographs(count)
    for data in inputs[:10]:
        work(data)
    print("ready", flush=True)
    sys.stdin.readline()
    start_s = time.monotonic()
    for data in inputs:
        work(data)
    print(json.dumps([start_s, time.monotonic()]), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main(int(sys.argv[1]))
