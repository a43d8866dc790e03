"""The sides that are compared: each is a fresh Redis, three workers and a client's way in."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.cluster.local_cluster import LocalCluster
from labkit.cluster.redis_server import RedisServer
from labkit.cluster.warden import Warden
from labkit.settings import Settings

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS_PYTHON = HERE / ".peers" / "bin" / "python"
PEERS = ("huey", "taskiq", "saq", "dramatiq", "celery", "rq")
WORKERS = 3
# Not the allocator's setting: that is a part of how labkit is shipped. One thread for each worker.
PLAIN_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def until(check: Callable[[], Any], timeout_s: float = 120.0, *, every_s: float = 0.001) -> None:
    """Wait for something that must come."""
    deadline_s = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline_s:
            raise TimeoutError("a benchmark waited in vain")
        time.sleep(every_s)


@contextmanager
def redis_server(binary: str | None, **config: str) -> Iterator[RedisServer]:
    with RedisServer(binary=binary, config=config) as server:
        yield server


@contextmanager
def processes(argv: list[str], url: str, environment: dict[str, str]) -> Iterator[Path]:
    """Three of a kind, gone at the end. Yields a folder in which each says that it is ready."""
    with tempfile.TemporaryDirectory(prefix="labkit-bench-") as name:
        folder, warden = Path(name), Warden()
        (folder / "ready").mkdir()
        environment = os.environ | PLAIN_ENVIRONMENT | environment
        environment |= {"REDIS_URL": url, "READY": str(folder / "ready")}
        try:
            for n in range(WORKERS):
                warden.start(f"worker-{n}", argv, environment, folder / f"log-{n}")
            yield folder
        finally:
            warden.close()


def are_ready(folder: Path) -> bool:
    return len(list((folder / "ready").iterdir())) >= WORKERS


@contextmanager
def floor(binary: str | None) -> Iterator[RedisServer]:
    """R: the least that could be called a task queue. It loses what a dead worker had taken."""
    with redis_server(binary) as server:
        argv = [sys.executable, str(HERE / "floor.py")]
        with processes(argv, server.url, {}) as folder:
            until(lambda: are_ready(folder))
            yield server


@contextmanager
def labkit(binary: str | None, settings: Settings | None = None) -> Iterator[LocalCluster]:
    """Three labkit workers. Without links: a link is a fault's way in, not a part of the queue."""
    with (
        redis_server(binary) as server,
        LocalCluster(WORKERS, redis_url=server.url, settings=settings, cuttable=False) as cluster,
    ):
        cluster.wait_ready()
        yield cluster


def peer(
    name: str,
    what: str,
    count: int,
    binary: str | None,
    *,
    photos: Sequence[bytes] = (),
    **more: str,
) -> dict[str, Any]:
    """Run one measurement of a peer, with its own workers, client and Python environment."""
    environment = {"PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]), "PEER_WORK": what, **more}
    with redis_server(binary) as server:
        argv = [str(PEERS_PYTHON), "-m", "peers.worker", name]
        with processes(argv, server.url, environment) as folder:
            for n, data in enumerate(photos):
                (folder / f"{n}.jpg").write_bytes(data)
            try:
                done = subprocess.run(
                    [str(PEERS_PYTHON), "-m", "peers.client", name, what, str(count)],
                    env=os.environ
                    | PLAIN_ENVIRONMENT
                    | environment
                    | {"REDIS_URL": server.url, "READY": str(folder / "ready")},
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=True,
                )
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                log = (folder / "log-0").read_text(errors="replace")[-1500:]
                raise RuntimeError(
                    f"{name}: {error.stderr!s:.1500}\nits worker said: {log}"
                ) from None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
