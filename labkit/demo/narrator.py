"""Say what happens while it happens, from the events."""

import threading
import time
from typing import Any

from rich.console import Console

from labkit.connection import connect
from labkit.errors import LabkitError
from labkit.i18n import _
from labkit.measure import events, words
from labkit.queue import keys


class Narrator:
    """A thread that reads the events and prints those worth a line."""

    def __init__(self, url: str, console: Console) -> None:
        self._client: Any = connect(url)
        self._console = console
        self.began = self._seen = events.last_id(self._client)  # the run is what comes after
        self._start_s: float | None = None
        self._victims: set[str] = set()  # tasks that lost their worker
        self._waiting: set[str] = set()  # workers that came back and have done nothing yet
        self._stop = threading.Event()
        self.changed = threading.Condition()
        self.requeued = 0
        self.redone = 0
        self.at_work: set[str] = set()  # workers that did a task since they came back
        self._thread = threading.Thread(target=self._run, name="labkit-narrator", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join(timeout=5)
        self._client.close()

    def wait_for(self, what: str, count: int, timeout_s: float) -> bool:
        """Wait until ``requeued`` or ``redone`` reaches a number."""
        with self.changed:
            return self.changed.wait_for(lambda: bool(getattr(self, what) >= count), timeout_s)

    def wait_at_work(self, worker: str, timeout_s: float) -> bool:
        """Wait until a worker that came back has done a task."""
        with self.changed:
            return self.changed.wait_for(lambda: worker in self.at_work, timeout_s)

    def came_back(self, worker: str) -> None:
        """From now on, its first task is news."""
        with self.changed:
            self._waiting.add(worker)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                news = self._client.xread({keys.EVENTS: self._seen}, count=1000, block=200)
            except (LabkitError, OSError):
                time.sleep(0.2)
                continue
            for entry_id, raw in news[0][1] if news else ():
                self._seen = entry_id.decode()
                event = events.parse(entry_id, raw)
                if self._start_s is None:
                    self._start_s = event.at_s
                line = self._line(event)
                if line:
                    self._console.print(f"[dim]{event.at_s - self._start_s:7.2f} s[/]  {line}")

    def _line(self, event: events.Event) -> str:
        with self.changed:
            self.changed.notify_all()
            worker = event.worker
            match event.kind:
                case "active":
                    return "[green]●[/] " + _("{worker} reports for work").format(worker=worker)
                case "fault" if event.fields["fault"] == "kill":
                    return "[bold red]✕[/] " + _("{worker} is killed (SIGKILL)").format(
                        worker=worker
                    )
                case "fault" if event.fields["fault"] == "pause":
                    return "[bold yellow]‖[/] " + _(
                        "{worker} is paused: it still holds its task and says nothing"
                    ).format(worker=worker)
                case "fault" if event.fields["fault"] == "resume":
                    return "[bold yellow]▶[/] " + _(
                        "{worker} wakes up and believes that no time has passed"
                    ).format(worker=worker)
                case "fault" if event.fields["fault"] == "restart":
                    return "[green]↻[/] " + _("{worker} is started again").format(worker=worker)
                case "requeued":
                    self.requeued += 1
                    self._victims |= set(event.tasks)
                    return "[yellow]↩[/] " + _(
                        "task {task}, which {worker} had, is back in the queue ({reason})"
                    ).format(
                        task=event.tasks[0],
                        worker=worker,
                        reason=words.reason(event.fields["reason"]),
                    )
                case "fenced":
                    return "[yellow]⊘[/] " + _(
                        "{worker} hands in task {task} too late: refused, somebody else did it"
                    ).format(worker=worker, task=event.tasks[0])
                case "dead":
                    return "[bold red]†[/] " + _("task {task} is a dead letter: {reason}").format(
                        task=event.tasks[0],
                        reason=words.reason(event.fields.get("reason", "")).split("\n")[0],
                    )
                case "done":
                    return self._done(event)
        return ""

    def _done(self, event: events.Event) -> str:
        saved = self._victims & set(event.tasks)
        if saved:
            self._victims -= saved
            self.redone += len(saved)
            return "[green]✔[/] " + _("{worker} has done task {task}: nothing is lost").format(
                worker=event.worker, task=", ".join(sorted(saved))
            )
        if event.worker in self._waiting:
            self._waiting.discard(event.worker)
            self.at_work.add(event.worker)
            return "[green]✔[/] " + _("{worker} does its first task since it came back").format(
                worker=event.worker
            )
        return ""
