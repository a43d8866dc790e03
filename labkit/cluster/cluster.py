"""A set of workers and what can be done to them; where they run is the subclass's business.

The verbs are the same for processes and containers::

    start  scale  stop  restart         in good order
    kill  pause  resume                 what machines do to workers
    disconnect  reconnect  slow         what networks and neighbours do
    workers  logs  wait_ready  close

Every fault is written to the events first, so that a plot can show cause before effect. A death
that is known (a process's exit, a container's ``die`` event) releases the worker's tasks at once;
the lease is for what cannot be known.
"""

import itertools
import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from labkit.cluster.closing import Closing
from labkit.connection import connect
from labkit.errors import ClusterError, LabkitError, NoSuchWorker, NotReady, SettingInvalid
from labkit.i18n import _
from labkit.measure import events
from labkit.queue import Registry, TaskQueue
from labkit.settings import Settings

log = logging.getLogger(__name__)

GONE_S = 10.0


class Cluster(Closing):
    """Workers named worker-1, worker-2, ... Use it in a ``with`` block, or call close()."""

    backend: str

    def __init__(self, redis_url: str, settings: Settings) -> None:
        self.redis_url, self.settings = redis_url, settings
        self.client: Any = connect(redis_url)
        self.queue = TaskQueue(self.client, settings)
        self.registry = Registry(self.client, settings)
        self._lives: dict[str, str] = {}  # worker -> incarnation that was seen at work
        self._before: dict[str, str] = {}  # worker -> incarnation to be replaced
        self._ending: set[str] = set()  # told to stop: their end is no death
        self._settled: dict[str, threading.Event] = {}  # worker -> its end has been dealt with
        self._closed = False

    # Up and down.

    def start(self, worker: str | None = None) -> str:
        """Start a worker, or one again that has stopped. Returns its name; does not wait.

        Args:
            worker: its name; default: the first free of worker-1, worker-2, ...
        """
        running = self.workers()
        name = worker or _free(running, 1)[0]
        if name in running:
            return name
        self._before[name] = self._incarnation(name)
        self._lives.pop(name, None)
        self._ending.discard(name)
        self._settled[name] = threading.Event()
        self._launch(name)
        return name

    def scale(self, count: int) -> list[str]:
        """Start or stop workers until ``count`` run. Does not wait for them to be ready.

        Returns:
            The names of all that run then.

        Raises:
            SettingInvalid: count is negative.
        """
        if count < 0:
            raise SettingInvalid("count", count, _("0 or more"))
        running = self.workers()
        _together(self.start, _free(running, count - len(running)))
        _together(self.stop, running[count:])
        return self.workers()

    def stop(self, worker: str) -> None:
        """Ask a worker to finish the task in hand and leave; wait until it has."""
        self._known(worker)
        self._ending.add(worker)
        self._terminate(worker)
        self._await_end(worker)

    def restart(self, worker: str) -> None:
        """Start a worker again, whether it runs or has been stopped or killed."""
        if worker in self.workers():
            self.stop(worker)
        elif worker not in self._settled:
            raise NoSuchWorker(worker, self.workers())
        self._fault(worker, "restart")
        self.start(worker)

    # Faults.

    def kill(self, worker: str) -> None:
        """SIGKILL: no cleanup, no goodbye. Returns when it is gone and its work is back."""
        self._known(worker)
        self._fault(worker, "kill")
        self._kill(worker)
        self._await_end(worker)

    def pause(self, worker: str) -> None:
        """Freeze a worker in the middle of whatever it does. It does not know."""
        self._known(worker)
        self._fault(worker, "pause")
        self._pause(worker)

    def resume(self, worker: str) -> None:
        """Wake a frozen worker: it goes on as if nothing had happened, a zombie."""
        self._known(worker)
        self._resume(worker)
        self._fault(worker, "resume")

    def disconnect(self, worker: str) -> None:
        """Cut a worker's network cable, silently."""
        self._known(worker)
        self._fault(worker, "disconnect")
        self._disconnect(worker)

    def reconnect(self, worker: str) -> None:
        """Plug the cable in again."""
        self._known(worker)
        self._reconnect(worker)
        self._fault(worker, "reconnect")

    def slow(self, worker: str, share: float = 0.25) -> None:
        """Let a worker have only a share of a processor, between 0.05 and 1; 1 undoes it.

        Raises:
            SettingInvalid: the share is out of range.
        """
        self._known(worker)
        if not 0.05 <= share <= 1:
            raise SettingInvalid("share", share, _("between 0.05 and 1"))
        self._fault(worker, "slow" if share < 1 else "full speed")
        self._slow(worker, share)

    # Looking.

    @abstractmethod
    def workers(self) -> list[str]:
        """The names of the workers that run, frozen and disconnected ones included, in order."""

    @abstractmethod
    def logs(self, worker: str, *, lines: int = 50) -> str:
        """The end of what a worker has printed."""

    @abstractmethod
    def memory_mb(self, worker: str) -> float:
        """Memory that a worker uses now, both its processes together; 0 if it does not run."""

    def wait_ready(self, *workers: str, timeout_s: float = 30.0) -> None:
        """Wait until workers report for work; by default all that run.

        Raises:
            NotReady: some did not in time.
        """
        names = list(workers) or self.workers()
        start_s = time.monotonic()
        while missing := self._not_ready(names):
            gone = [name for name in missing if name not in self.workers()]
            if gone or time.monotonic() > start_s + timeout_s:
                waited_s = time.monotonic() - start_s
                raise NotReady(gone or missing, waited_s, self.logs((gone or missing)[0], lines=10))
            time.sleep(0.02)

    def close(self) -> None:
        """End everything at once. May be called twice."""
        if not self._closed:
            self._closed = True
            self._close()
            self.client.close()

    # What a place to run must offer.

    @abstractmethod
    def _launch(self, worker: str) -> None: ...

    @abstractmethod
    def _terminate(self, worker: str) -> None:
        """Send SIGTERM, and SIGKILL once the grace is over; need not wait."""

    @abstractmethod
    def _kill(self, worker: str) -> None: ...

    @abstractmethod
    def _pause(self, worker: str) -> None: ...

    @abstractmethod
    def _resume(self, worker: str) -> None: ...

    @abstractmethod
    def _disconnect(self, worker: str) -> None: ...

    @abstractmethod
    def _reconnect(self, worker: str) -> None: ...

    @abstractmethod
    def _slow(self, worker: str, share: float) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    def _ended(self, worker: str, how: str) -> None:
        """The subclass says that a worker is gone; its work goes back at once."""
        if self._closed:
            return
        died = "" if worker in self._ending else how
        try:
            life = self._lives.get(worker) or self._incarnation(worker)
            self.queue.release(
                worker, incarnation=life, died=died, status="dead" if died else "left"
            )
        except LabkitError as error:  # then its lease will run out instead
            log.warning("could not release what %s held: %s", worker, error.what)
        finally:
            if worker in self._settled:
                self._settled[worker].set()

    def _await_end(self, worker: str) -> None:
        if not self._settled[worker].wait(GONE_S + self.settings.grace_s):
            raise ClusterError(
                _("{worker} did not end.").format(worker=worker),
                _("It was told to, and then killed."),
                _("Close the cluster; look for the process if that does not help."),
            )

    def _not_ready(self, names: list[str]) -> list[str]:
        seen = {worker.id: worker for worker in self.registry.workers()}
        missing = []
        for name in names:
            worker = seen.get(name)
            fresh = worker is not None and worker.incarnation != self._before.get(name, "")
            if worker and fresh and worker.status in ("active", "busy"):
                self._lives[name] = worker.incarnation
            else:
                missing.append(name)
        return missing

    def _incarnation(self, worker: str) -> str:
        found = [entry.incarnation for entry in self.registry.workers() if entry.id == worker]
        return found[0] if found else ""

    def _known(self, worker: str) -> None:
        if worker not in (running := self.workers()):
            raise NoSuchWorker(worker, running)

    def _fault(self, worker: str, fault: str) -> None:
        events.record(self.client, "fault", worker=worker, fault=fault)


def _free(taken: list[str], count: int) -> list[str]:
    """The first names that are not taken."""
    names = (f"worker-{number}" for number in itertools.count(1))
    return list(itertools.islice((name for name in names if name not in taken), max(count, 0)))


def _together(do: Callable[[str], object], names: list[str]) -> None:
    """Do something to several workers at the same time: each mostly waits."""
    with ThreadPoolExecutor(max(len(names), 1)) as pool:
        list(pool.map(do, names))


def in_order(names: list[str]) -> list[str]:
    """worker-2 before worker-10."""
    return sorted(names, key=lambda name: (len(name), name))
