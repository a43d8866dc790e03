"""A Redis of our own in a container, for a cluster of containers."""

import io
import secrets
import tarfile
import time
from typing import Any

import docker
from docker.errors import APIError
from docker.models.networks import Network

from labkit.cluster import docker_engine
from labkit.cluster.closing import Closing
from labkit.cluster.docker_engine import HARDENED, in_our_words, limit_memory
from labkit.cluster.redis_server import free_port, server_version
from labkit.cluster.undertaker import Undertaker
from labkit.connection import connect
from labkit.errors import ClusterError, RedisUnavailable
from labkit.i18n import _

HOST = "redis"  # what workers call it
_START_S = 15.0
_PORT_TRIES = 5


class RedisContainer:
    """Answers workers on the network ``inside``, and this machine on a port of loopback.

    An internal network cannot publish a port. So Redis, and nobody else, also stands on a second
    one, ``door``, which leads to this machine; without masquerading it leads no further.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        session: str,
        image: str,
        inside: Network | None = None,
        *,
        port: int = 0,
    ) -> None:
        """Start it and wait until it answers.

        Args:
            client: of the engine.
            session: written on all that is started.
            image: what it is made from.
            inside: the network of the workers, if they are containers.
            port: of loopback; 0 for a free one.

        Raises:
            ClusterError: it does not start.
        """
        self._docker, self._session, self._port = client, session, port
        self._password = secrets.token_urlsafe(16)
        self.worker_url = f"redis://:{self._password}@{HOST}:6379/0"
        with in_our_words():
            door = client.networks.create(
                f"labkit-{session}-door",
                driver="bridge",
                options={"com.docker.network.bridge.enable_ip_masquerade": "false"},
                labels=docker_engine.labels(session),
            )
            self._volume = client.volumes.create(
                f"labkit-{session}-redis", labels=docker_engine.labels(session)
            )
            self._start_on_a_free_port(image, door, inside)
        self._until_it_answers()

    def start(self) -> None:
        """Start it again: same port, same data. Returns when it answers."""
        with in_our_words():
            self.container.start()
        self._until_it_answers()

    def kill(self) -> None:
        """SIGKILL: no goodbye. What the append-only file holds is there after start()."""
        with in_our_words():
            self.container.kill()
            self.container.wait(timeout=10)

    def pause(self) -> None:
        """Freeze it: the port is open, but nobody answers."""
        with in_our_words():
            self.container.pause()

    def resume(self) -> None:
        """Undo pause()."""
        with in_our_words():
            self.container.unpause()

    def client(self) -> Any:
        """A new client of this server."""
        return connect(self.url)

    def version(self) -> str:
        """What answers: "redis 7.0.15"."""
        return server_version(self.url)

    def _start_on_a_free_port(self, image: str, door: Network, inside: Network | None) -> None:
        for attempt in range(1, _PORT_TRIES + 1):
            port = (
                self._port or free_port()
            )  # ours to choose: one that Docker chooses changes with every start
            self.url = f"redis://:{self._password}@127.0.0.1:{port}/0"
            self.container = self._docker.containers.create(
                image,
                ["redis-server", "/data/redis.conf"],
                name=f"labkit-{self._session}-redis",
                labels=docker_engine.labels(self._session),
                user="redis",
                network=door.name,
                ports={"6379/tcp": ("127.0.0.1", port)},
                volumes={self._volume.name: {"bind": "/data", "mode": "rw"}},
                **HARDENED,
                **limit_memory("1g"),
            )
            if inside is not None:
                inside.connect(self.container, aliases=[HOST])
            self.container.put_archive("/data", _archive("redis.conf", self._directives()))
            try:
                self.container.start()
                return
            except APIError as error:
                taken = "already" in str(error.explanation)  # allocated, or in use
                if not taken or attempt == _PORT_TRIES:
                    raise
                self.container.remove(force=True)

    def _directives(self) -> str:
        directives = {
            "requirepass": self._password,
            "dir": "/data",
            "save": '""',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "auto-aof-rewrite-min-size": "512mb",  # as in redis_server.py
            "maxmemory": "512mb",
            "maxmemory-policy": "noeviction",
            "tcp-keepalive": "15",
        }
        return "".join(f"{name} {value}\n" for name, value in directives.items())

    def _until_it_answers(self) -> None:
        deadline_s = time.monotonic() + _START_S
        while True:
            try:
                self.version()
                return
            except RedisUnavailable:
                if time.monotonic() > deadline_s:
                    tail = self.container.logs(tail=10).decode(errors="replace")
                    raise ClusterError(
                        _("Redis did not start in its container within {seconds:.0f} s.").format(
                            seconds=_START_S
                        ),
                        tail,
                    ) from None
                time.sleep(0.02)


class LoneRedis(Closing):
    """The container without a cluster around it; the same verbs as RedisServer."""

    def __init__(self, *, image: str = "labkit-redis", port: int = 0) -> None:
        """Start it and wait until it answers.

        Raises:
            DockerUnavailable: no engine answers.
            ClusterError: the image is missing, or it does not start.
        """
        self._session = secrets.token_hex(4)
        self._docker = docker_engine.connect()
        with in_our_words():
            self._docker.images.get(image)
            docker_engine.sweep(self._docker)
        self._undertaker = Undertaker(self._session)
        try:
            container = RedisContainer(self._docker, self._session, image, port=port)
        except BaseException:
            self.close()
            raise
        self.url = container.url
        self.start, self.kill = container.start, container.kill
        self.pause, self.resume = container.pause, container.resume
        self.client, self.version = container.client, container.version

    def close(self) -> None:
        """Remove it and its data. May be called twice."""
        while docker_engine.remove(self._docker, self._session):
            pass
        self._undertaker.close(clean=True)
        self._docker.close()


def _archive(name: str, text: str) -> bytes:
    """A tar with one file: the password travels in it, and is in no list of arguments."""
    data = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644  # its user's number is the image's business
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
