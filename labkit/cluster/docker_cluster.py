"""Workers as containers: what an engine can do to machines and networks, on one laptop."""

import contextlib
import logging
import secrets
import threading
import time
from collections import deque
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from docker.errors import APIError, DockerException
from docker.models.containers import Container
from docker.types import EndpointConfig

from labkit.cluster import docker_engine
from labkit.cluster.cluster import Cluster, in_order
from labkit.cluster.docker_engine import HARDENED, WORKER_LABEL, in_our_words, limit_memory
from labkit.cluster.docker_events import DeathWatch
from labkit.cluster.docker_redis import RedisContainer
from labkit.cluster.undertaker import Undertaker
from labkit.errors import LabkitError, NoSuchWorker
from labkit.i18n import language
from labkit.settings import Settings

log = logging.getLogger(__name__)

GATEWAY = "host.docker.internal"  # this machine, as containers see it
KEPT_LINES = 1000  # of what a worker printed in its earlier lives
CLOSE_S = 15.0  # what is not gone by then is left to the undertaker
_PERIOD_US = 50_000  # a slow worker gets its share of each
_SIGKILLED = 137


class DockerCluster(Cluster):
    """Hardened containers on a network without a way out, and a Redis of their own.

    "Out" is the world: services of this very machine that listen on all its addresses can be
    reached from any bridge of Docker.

    A container is one life of a worker: started again, it gets a new one, with its cables plugged
    in and at full speed.
    """

    backend = "docker"

    def __init__(
        self,
        workers: int = 0,
        *,
        redis_url: str | None = None,
        settings: Settings | None = None,
        image: str = "labkit-worker",
        redis_image: str = "labkit-redis",
        command: list[str] | None = None,
    ) -> None:
        """Start some workers; wait_ready() tells when they are.

        Args:
            workers: how many.
            redis_url: a server that runs and that containers can reach; default: one of our own.
                With one, the workers' network has a way out, because the server is out there. A
                loopback address becomes ``host.docker.internal``; the server must then listen on
                the gateway of Docker's bridge too (on Linux, 127.0.0.1 alone is not enough).
            settings: for the queue and the workers.
            image: what workers are made from; ``make images`` builds the default.
            redis_image: what our Redis is made from.
            command: what a worker runs; it finds REDIS_URL and WORKER_ID in its environment.

        Raises:
            DockerUnavailable: no engine answers.
            ClusterError: an image is missing, or Redis does not start.
        """
        settings = settings or Settings()
        self.session = secrets.token_hex(4)
        self._image, self._command = image, command
        self._lock = threading.Lock()
        self._running: dict[str, Container] = {}
        self._newest: dict[str, Container] = {}  # the last life of each worker, for its log
        self._printed: dict[str, deque[str]] = {}  # in the lives before it
        self._killed: set[str] = set()  # containers that we killed
        self._watch: DeathWatch | None = None
        self._undertaker: Undertaker | None = None
        self.redis: RedisContainer | None = None
        self._docker = docker_engine.connect()
        try:
            with in_our_words():
                self._docker.images.get(image)
                if redis_url is None:
                    self._docker.images.get(redis_image)
                docker_engine.sweep(self._docker)
                self._undertaker = Undertaker(self.session)  # before there is anything to bury
                self._network = self._docker.networks.create(
                    f"labkit-{self.session}",
                    driver="bridge",
                    internal=redis_url is None,
                    labels=docker_engine.labels(self.session),
                )
            if redis_url is None:
                self.redis = RedisContainer(self._docker, self.session, redis_image, self._network)
                redis_url, self._worker_url = self.redis.url, self.redis.worker_url
            else:
                self._worker_url = _seen_from_containers(redis_url)
            super().__init__(redis_url, settings)
            self._watch = DeathWatch(self.session, self._on_die, self._catch_up)
            self.scale(workers)
        except BaseException:
            self._closed = True
            self._close()
            raise

    def workers(self) -> list[str]:
        """The names of the workers whose container runs."""
        with self._lock:
            return in_order(list(self._running))

    def container(self, worker: str) -> Container:
        """The container that a worker runs in.

        Raises:
            NoSuchWorker: it does not run.
        """
        with self._lock:
            found = self._running.get(worker)
        if found is None:
            raise NoSuchWorker(worker, self.workers())
        return found

    def logs(self, worker: str, *, lines: int = 50) -> str:
        """The end of what a worker has printed, over all its lives."""
        with self._lock:
            newest, before = self._newest.get(worker), list(self._printed.get(worker, ()))
        if newest is None:
            raise NoSuchWorker(worker, self.workers())
        return "".join([*before, *docker_engine.printed(newest, lines)][-lines:])

    def memory_mb(self, worker: str) -> float:
        """What the engine charges to the container, without the files that it only caches."""
        with contextlib.suppress(LabkitError, KeyError), in_our_words():
            stats: Any = self.container(worker).stats(stream=False, one_shot=True)
            memory = stats["memory_stats"]
            cached = memory["stats"].get("inactive_file", 0)
            cached = memory["stats"].get("total_inactive_file", cached)  # the older cgroups
            return float(memory["usage"] - cached) / 1e6
        return 0.0

    def _launch(self, worker: str) -> None:
        network = str(self._network.name)
        with in_our_words():
            self._put_away(worker)
            container = self._docker.containers.create(
                self._image,
                self._command,
                name=f"labkit-{self.session}-{worker}",
                hostname=f"{self.session}-{worker}",  # the same in every life, no other cluster's
                labels=docker_engine.labels(self.session, **{WORKER_LABEL: worker}),
                environment=self._environment(worker),
                network=network,
                networking_config={network: EndpointConfig("1.41", aliases=[worker])},
                extra_hosts={} if self.redis else {GATEWAY: "host-gateway"},
                dns_opt=["timeout:1", "attempts:1"],  # a cut cable is found out soon, and mended
                # The registry knows who is well; a check every 3 s would eat a slow worker's share.
                healthcheck={"test": ["NONE"]},
                **HARDENED,
                **limit_memory("512m"),
            )
            with self._lock:
                self._newest[worker] = container
            container.start()
            with self._lock:
                self._running[worker] = container
            container.reload()  # it may have ended before it was in the books
            if container.status in ("exited", "dead"):
                self._on_die(str(container.id), int(container.attrs["State"]["ExitCode"]))

    def _environment(self, worker: str) -> dict[str, str]:
        return {
            **self.settings.to_env(),
            "REDIS_URL": self._worker_url,
            "WORKER_ID": worker,
            "LABKIT_LANG": language(),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }

    def _put_away(self, worker: str) -> None:
        """Remove the container of a worker's last life, and keep what it printed."""
        with self._lock:
            last = self._newest.get(worker)
        if last is None:
            return
        printed = self._printed.setdefault(worker, deque(maxlen=KEPT_LINES))
        with contextlib.suppress(APIError):  # somebody removed it already
            printed.extend(docker_engine.printed(last, KEPT_LINES))
            last.remove(v=True, force=True)

    def _terminate(self, worker: str) -> None:
        container = self.container(worker)
        with contextlib.suppress(APIError):
            container.unpause()
        with in_our_words():
            container.stop(timeout=round(self.settings.grace_s) + 2)

    def _kill(self, worker: str) -> None:
        container = self.container(worker)
        self._killed.add(str(container.id))
        with in_our_words(), docker_engine.may_be_gone():
            container.kill()

    def _pause(self, worker: str) -> None:
        with in_our_words():
            self.container(worker).pause()

    def _resume(self, worker: str) -> None:
        with in_our_words():
            self.container(worker).unpause()

    def _disconnect(self, worker: str) -> None:
        with in_our_words():
            self._network.disconnect(self.container(worker))

    def _reconnect(self, worker: str) -> None:
        with in_our_words():
            self._network.connect(self.container(worker), aliases=[worker])

    def _slow(self, worker: str, share: float) -> None:
        quota = round(share * _PERIOD_US) if share < 1 else -1  # -1: as much as there is
        with in_our_words():
            self.container(worker).update(cpu_period=_PERIOD_US, cpu_quota=quota)

    # Deaths.

    def _on_die(self, container_id: str, status: int) -> None:
        with self._lock:
            names = [name for name, one in self._running.items() if one.id == container_id]
            if not names:
                return  # Redis, or heard already
            container = self._running.pop(names[0])
        # Each in a thread: with Redis away a release takes seconds, and others die meanwhile.
        release = partial(self._release, names[0], container, status)
        threading.Thread(target=release, name="labkit-release", daemon=True).start()

    def _release(self, worker: str, container: Container, status: int) -> None:
        self._ended(worker, self._how(container, status))

    def _how(self, container: Container, status: int) -> str:
        if status != _SIGKILLED:
            return f"exited with status {status}"
        if str(container.id) not in self._killed:
            with contextlib.suppress(DockerException):
                container.reload()
                if container.attrs["State"]["OOMKilled"]:
                    return "out of memory"
        return "killed"

    def _catch_up(self) -> None:
        """Look for deaths while nobody listened to the engine."""
        with self._lock:
            believed = list(self._running.values())
        for container in believed:
            status = 0
            try:
                container.reload()
                if container.status in ("running", "paused", "restarting"):
                    continue
                status = int(container.attrs["State"]["ExitCode"])
            except APIError as error:
                if error.status_code != 404:  # 404: removed altogether
                    continue
                status = _SIGKILLED
            self._on_die(str(container.id), status)

    def _close(self) -> None:
        if self._watch:
            self._watch.close()
        clean, deadline_s = False, time.monotonic() + CLOSE_S
        with contextlib.suppress(DockerException, OSError):
            while not clean and time.monotonic() < deadline_s:
                clean = docker_engine.remove(self._docker, self.session) == 0
        if self._undertaker:
            self._undertaker.close(clean=clean)
        self._docker.close()


def _seen_from_containers(url: str) -> str:
    """The same server; this machine's loopback has another name in a container."""
    parts = urlsplit(url)
    if parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        return url
    login = parts.netloc.rpartition("@")[0]
    at = f"{GATEWAY}:{parts.port or 6379}"
    return urlunsplit(parts._replace(netloc=f"{login}@{at}" if login else at))
