"""``python -m labkit.cluster.undertaker SESSION``: outlives its owner, to bury what it started.

Containers belong to the engine, so they do not end when the process that started them does. This
small process waits for that end, whatever its cause (SIGKILL included), and then removes every
container, network and volume of the session. After a clean close it has nothing to do.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

PATIENCE_S = 60.0
_LOOK_S = 1.0
_CLEAN = b"."


class Undertaker:
    """The owner's end."""

    def __init__(self, session: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "labkit.cluster.undertaker", session],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours to handle, not its end
        )

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def close(self, *, clean: bool) -> None:
        """Let it go.

        Args:
            clean: nothing is left; otherwise it goes on to remove what is, on its own.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            if clean:
                self._process.stdin.write(_CLEAN)
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)


def main(session: str) -> int:
    """Wait for the owner's end, then remove what it left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    owner_pid = os.getppid()
    # The pipe's end tells at once. A forked child of the owner may hold it open, so the parent is
    # looked at as well: when it dies, another process takes its place.
    while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        if os.getppid() != owner_pid:
            break
    else:
        if os.read(sys.stdin.fileno(), 1) == _CLEAN:
            return 0
    return bury(session)


def bury(session: str) -> int:
    """Remove all of a session, also what the engine was still making when its owner died."""
    # Imported only now: until then this process costs next to nothing.
    from labkit.cluster import docker_engine

    deadline_s, empty_looks = time.monotonic() + PATIENCE_S, 0
    while empty_looks < 3 and time.monotonic() < deadline_s:
        with contextlib.suppress(Exception):  # a restarting engine is no reason to give up
            client = docker_engine.connect()
            try:
                found = docker_engine.remove(client, session)
            finally:
                client.close()
            empty_looks = 0 if found else empty_looks + 1
        time.sleep(0.2 if not empty_looks else _LOOK_S)
    return 0 if empty_looks else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
