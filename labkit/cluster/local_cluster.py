"""Workers as processes on this machine: nothing to install but Python."""

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psutil

from labkit.cluster.cluster import Cluster, in_order
from labkit.cluster.own_redis import own_redis
from labkit.cluster.redis_server import RedisServer
from labkit.cluster.warden import Warden
from labkit.errors import NoSuchWorker
from labkit.i18n import language
from labkit.settings import Settings

if TYPE_CHECKING:
    from labkit.cluster.docker_redis import LoneRedis

# glibc gives memory back after each image and faults it in again for the next; this keeps it.
# It is read when a process starts. Measured in benchmarks/README.md.
WORKER_ENVIRONMENT = {
    "MALLOC_TOP_PAD_": "67108864",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}


class LocalCluster(Cluster):
    """Processes, a link each to Redis that can be cut, and a warden that outlives none of us."""

    backend = "local"

    def __init__(
        self,
        workers: int = 0,
        *,
        redis_url: str | None = None,
        settings: Settings | None = None,
        command: list[str] | None = None,
        cuttable: bool = True,
    ) -> None:
        """Start some workers; wait_ready() tells when they are.

        Args:
            workers: how many.
            redis_url: a server that runs; default: an embedded one of our own.
            settings: for the queue and the workers.
            command: what a worker runs; it finds REDIS_URL and WORKER_ID in its environment.
            cuttable: lead each worker's traffic through a link, so that disconnect() works; costs
                some throughput of very short tasks.
        """
        settings = settings or Settings()
        self._command = command or [sys.executable, "-m", "labkit.worker"]
        self._cuttable = cuttable
        self._folder = Path(tempfile.mkdtemp(prefix="labkit-cluster-"))
        self._pids: dict[str, int] = {}
        self._lock = threading.Lock()
        self._warden = Warden(self._on_exit)
        self.redis: RedisServer | LoneRedis | None = None
        try:
            if redis_url is None:
                self.redis = own_redis(warden=self._warden)
                redis_url = self.redis.url
            super().__init__(redis_url, settings)
            self.scale(workers)
        except BaseException:
            self._close()
            raise

    def workers(self) -> list[str]:
        """The names of the workers that run."""
        with self._lock:
            return in_order(list(self._pids))

    def pid(self, worker: str) -> int:
        """The process number of a worker's supervisor."""
        with self._lock:
            return self._pids[worker]

    def logs(self, worker: str, *, lines: int = 50) -> str:
        """The end of what a worker has printed, over all its lives."""
        path = self._log_file(worker)
        if not path.exists():
            raise NoSuchWorker(worker, self.workers())
        with path.open(errors="replace") as text:
            return "".join(deque(text, maxlen=lines))

    def memory_mb(self, worker: str) -> float:
        """Proportional set size: pages that workers share are counted once in all."""
        try:
            supervisor = psutil.Process(self.pid(worker))
            family = [supervisor, *supervisor.children()]
            return float(sum(p.memory_full_info().pss for p in family)) / 1e6
        except (psutil.Error, KeyError, AttributeError):  # gone, or not Linux
            return 0.0

    def _launch(self, worker: str) -> None:
        url = self.redis_url
        if self._cuttable:
            parts = urlsplit(url)
            port = self._warden.link(worker, parts.hostname or "127.0.0.1", parts.port or 6379)
            self._warden.heal(worker)  # its last life may have ended disconnected
            login = parts.netloc.rpartition("@")[0]
            at = f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}"
            url = urlunsplit(parts._replace(netloc=at))
        environment = os.environ | WORKER_ENVIRONMENT | self.settings.to_env()
        environment |= {"REDIS_URL": url, "WORKER_ID": worker, "LABKIT_LANG": language()}
        with self._lock:
            self._pids[worker] = self._warden.start(
                worker, self._command, environment, self._log_file(worker)
            )

    def _terminate(self, worker: str) -> None:
        self._warden.signal(worker, signal.SIGCONT)
        self._warden.signal(worker, signal.SIGTERM, group=False)
        # The supervisor keeps its grace by itself; this is for one that does not.
        late = threading.Timer(self.settings.grace_s + 2, self._kill_if_same, [worker])
        late.daemon = True
        late.start()

    def _kill_if_same(self, worker: str) -> None:
        if not self._closed and worker in self._ending and not self._settled[worker].is_set():
            self._kill(worker)

    def _kill(self, worker: str) -> None:
        self._warden.signal(worker, signal.SIGKILL)

    def _pause(self, worker: str) -> None:
        self._warden.signal(worker, signal.SIGSTOP)

    def _resume(self, worker: str) -> None:
        self._warden.signal(worker, signal.SIGCONT)

    def _disconnect(self, worker: str) -> None:
        self._warden.cut(worker)

    def _reconnect(self, worker: str) -> None:
        self._warden.heal(worker)

    def _slow(self, worker: str, share: float) -> None:
        self._warden.throttle(worker, share)

    def _on_exit(self, name: str, pid: int, status: int) -> None:
        with self._lock:
            if self._pids.get(name) != pid:
                return  # Redis, or an earlier life
            del self._pids[name]
        how = "killed" if status == -signal.SIGKILL else f"exited with status {status}"
        self._ended(name, how)

    def _close(self) -> None:
        self._warden.close()
        if self.redis:
            self.redis.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _log_file(self, worker: str) -> Path:
        return self._folder / f"{worker}.log"
