"""The owner's end of a warden: start, signal, throttle, cut; and hear of every death."""

import atexit
import itertools
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from labkit.errors import ClusterError
from labkit.i18n import _

log = logging.getLogger(__name__)

OnExit = Callable[[str, int, int], None]  # name, pid, status


class Warden:
    """Processes that die with us. Safe to share between threads."""

    def __init__(self, on_exit: OnExit | None = None) -> None:
        """Start the warden.

        Args:
            on_exit: called in a thread with name, process number and exit status of each process
                that ends, however it ended.
        """
        self._on_exit = on_exit
        self._numbers = itertools.count()
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "labkit.cluster.warden_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        self._reader = threading.Thread(target=self._listen, name="labkit-warden", daemon=True)
        self._reader.start()
        atexit.register(self.close)

    def start(self, name: str, argv: list[str], env: Mapping[str, str], log_file: Path) -> int:
        """Start a process in a group of its own, its output appended to a file. Returns its pid."""
        return int(self._ask("start", name=name, argv=argv, env=dict(env), log=str(log_file)))

    def signal(self, name: str, number: int, *, group: bool = True) -> bool:
        """Send a signal to a process (and its children). Returns False if it is gone already."""
        return bool(self._ask("signal", name=name, number=int(number), group=group))

    def throttle(self, name: str, share: float) -> None:
        """Let a process run only a share of the time, by stopping and continuing it; 1 undoes."""
        self._ask("throttle", name=name, share=share)

    def link(self, name: str, host: str, port: int) -> int:
        """A local port that leads to host:port until it is cut."""
        return int(self._ask("link", name=name, host=host, port=port))

    def cut(self, name: str) -> None:
        """Cut a link, silently."""
        self._ask("cut", name=name)

    def heal(self, name: str) -> None:
        """Mend a link."""
        self._ask("heal", name=name)

    def close(self) -> None:
        """Kill everything at once and wait until it is gone. May be called twice."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(timeout=10)
        self._reader.join(timeout=10)

    def _ask(self, do: str, **arguments: Any) -> Any:
        number = next(self._numbers)
        line = json.dumps({"do": do, "id": number, "with": arguments}) + "\n"
        with self._changed:
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()
            except (OSError, ValueError):
                raise _gone() from None
            arrived = self._changed.wait_for(
                lambda: number in self._answers or not self._reader.is_alive(), timeout=30
            )
            if not arrived or number not in self._answers:
                raise _gone()
            answer = self._answers.pop(number)
        if "error" in answer:
            raise ClusterError(
                _("{verb} did not work for {name}.").format(verb=do, name=arguments.get("name")),
                str(answer["error"]),
            )
        return answer["value"]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                news = json.loads(line)
                if "answer" in news:
                    with self._changed:
                        self._answers[news["answer"]] = news
                        self._changed.notify_all()
                elif self._on_exit and not self._closed:
                    threading.Thread(
                        target=self._on_exit,
                        args=(news["exited"], news["pid"], news["status"]),
                        daemon=True,
                    ).start()
        with self._changed:
            self._changed.notify_all()


def _gone() -> ClusterError:
    return ClusterError(
        _("The process that holds the workers is gone, and they with it."),
        _("It was closed, or something killed it."),
        _("Make a new cluster."),
    )
