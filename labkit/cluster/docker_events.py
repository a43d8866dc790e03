"""Hear of every container that ends."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import docker
import requests
import urllib3
from docker.errors import DockerException

from labkit.cluster.docker_engine import SESSION_LABEL, connect
from labkit.errors import DockerUnavailable

log = logging.getLogger(__name__)

_AGAIN_S = 0.2
_BROKEN = (
    DockerException,
    DockerUnavailable,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
    ValueError,  # half a line
    AttributeError,  # what urllib3 says when its socket is closed under it
)


class DeathWatch:
    """Reads the engine's events in a thread, and connects again whenever the stream breaks."""

    def __init__(
        self, session: str, on_die: Callable[[str, int], None], catch_up: Callable[[], None]
    ) -> None:
        """Begin; returns once the engine is listened to.

        Args:
            session: whose containers.
            on_die: called with a container's id and exit status.
            catch_up: called after every new connection, to look for deaths before it.
        """
        self._session, self._on_die, self._catch_up = session, on_die, catch_up
        self._closed = threading.Event()
        self._listening = threading.Event()
        self._client: docker.DockerClient | None = None
        self._stream: Any = None
        self._thread = threading.Thread(target=self._run, name="labkit-deaths", daemon=True)
        self._thread.start()
        self._listening.wait(timeout=10)

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._closed.set()
        self.interrupt()
        self._thread.join(timeout=5)

    def interrupt(self) -> None:
        """Break the stream, as a restarting engine would."""
        if self._stream is not None:
            try:
                self._stream.close()
            except _BROKEN as error:
                log.debug("the stream of events was closed already: %s", error)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._listen()
            except _BROKEN as error:
                if not self._closed.is_set():
                    log.info("no events from Docker: %s", error)
            finally:
                if self._client is not None:
                    self._client.close()
                    self._client = None
            self._closed.wait(_AGAIN_S)

    def _listen(self) -> None:
        self._client = connect()
        filters = {
            "type": "container",
            "event": "die",
            "label": f"{SESSION_LABEL}={self._session}",
        }
        self._stream = self._client.events(decode=True, filters=filters)
        self._catch_up()
        self._listening.set()
        for event in self._stream:
            if self._closed.is_set():
                return
            status = event["Actor"]["Attributes"].get("exitCode", "0")
            self._on_die(event["Actor"]["ID"], int(status))
