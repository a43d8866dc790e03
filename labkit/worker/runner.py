"""The process that does the work: claim a slice, run it, acknowledge.

A slice is one task, or as many short ones as fit in ``slice_s`` (2 ms). It is acknowledged when
that time is over at the latest, so a crash repeats what was running: one long task, or less than
2 ms of short ones. If a task in a slice turns out to be long after all, the supervisor sees it:
it acknowledges what was done before it and gives back what waits behind it.
"""

import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable

import redis
from redis.exceptions import ResponseError

from labkit.errors import ImageExpired, LabkitError, Refused
from labkit.queue import Lane
from labkit.settings import Settings
from labkit.task import SCHEMA, Claim, Work, schema_of
from labkit.worker.board import MOST, SMALL, Board

log = logging.getLogger(__name__)

WAIT_S = 1.0  # how long an idle worker sleeps on the server before it looks up
Do = Callable[[Work, Callable[[str], bytes]], bytes]


class Pace:
    """How many tasks to take at once: as many short ones as fit in ``slice_s``, but one long one.

    A long task is remembered at once and forgotten slowly, so a mixed queue is taken one by one.
    """

    def __init__(self, settings: Settings) -> None:
        self._slice_s, self._max = settings.slice_s, min(settings.slice_max, MOST)
        self._task_s = settings.slice_s
        self.count = 1

    def saw(self, seconds: float, tasks: int) -> None:
        """Learn from a slice of tasks."""
        each_s = seconds / tasks
        self._task_s = max(each_s, 0.8 * self._task_s + 0.2 * each_s)
        fits = int(self._slice_s / max(self._task_s, 1e-9))
        self.count = max(1, min(fits, self._max, 2 * self.count))


class Runner:
    """One worker's hands."""

    def __init__(self, lane: Lane, board: Board, do: Do, settings: Settings) -> None:
        self._lane, self._board, self._do = lane, board, do
        self._pace, self._settings = Pace(settings), settings
        self._done: list[tuple[Claim, bytes]] = []
        self._label = ""

    def run(self) -> None:
        """Work until the board says drain."""
        while not self._board.draining:
            try:
                self.run_once()
            except (redis.ConnectionError, redis.TimeoutError, OSError, ResponseError) as error:
                log.warning("lost Redis: %s", error)
                with contextlib.suppress(redis.RedisError, OSError):
                    self._flush()
                self._board.rest()
                self._lane.reopen(lambda: self._board.draining)
        try:
            self._lane.settle()
        except (redis.RedisError, OSError) as error:
            log.warning("could not say goodbye to Redis: %s", error)
        self._lane.close()

    def run_once(self) -> None:
        """Take a slice and do it; or wait a while for one."""
        claims = self._lane.claim(self._pace.count)
        if not claims:
            self._lane.wait(WAIT_S)
            return
        self._board.take(claims)
        start_s = time.perf_counter()
        for index, claim in enumerate(claims):
            work = self._read(claim)
            limit_s = (work and work.timeout_s) or self._settings.task_timeout_s
            if not self._board.begin(index, limit_s):
                self._lane.give_back(claims[index:])
                break
            if work:
                self._handle(index, claim, work)
            if time.perf_counter() - start_s > self._settings.slice_s:
                self._flush()
        self._flush(with_next=True)
        self._board.rest()
        self._pace.saw(time.perf_counter() - start_s, len(claims))

    def _read(self, claim: Claim) -> Work | None:
        try:
            work = claim.work
            schema, reason = work.schema, ""
        except Refused as error:
            schema, reason = schema_of(claim.body), str(error)
        if schema > SCHEMA:
            reason = f"for a newer worker: it has schema {schema}, this one knows {SCHEMA}"
            self._lane.leave(claim, reason)
        elif reason:
            self._lane.fail(claim, reason, retry=False)
        else:
            return work
        return None

    def _handle(self, index: int, claim: Claim, work: Work) -> None:
        try:
            result = self._do(work, self._fetch)
        except redis.RedisError:
            raise
        except Refused as error:
            self._lane.fail(claim, str(error), retry=False)
        except Exception as error:  # a bad task must not take the worker down with it
            if not isinstance(error, LabkitError):
                log.exception("task %s failed", claim.id)
            self._lane.fail(claim, f"{type(error).__name__}: {error}", retry=True)
        else:
            label = work.label
            if label != self._label:
                self._flush()
                self._label = label
            self._done.append((claim, result))
            if len(result) <= SMALL:
                self._board.finished(index, label, result)
            else:
                self._flush()

    def _flush(self, *, with_next: bool = False) -> None:
        if self._done:
            done, self._done = self._done, []
            self._board.sent()
            # If this breaks, the lane remembers.
            self._lane.ack(done, self._label, with_next=with_next)

    def _fetch(self, digest: str) -> bytes:
        data = self._lane.image(digest)
        if data is None:
            raise ImageExpired(digest)
        return data


def main(
    url: str, worker_id: str, incarnation: str, settings: Settings, board: Board, ready_fd: int
) -> None:
    """Be the runner: called in the forked process, does not return."""
    _die_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C reaches both; the supervisor decides
    from labkit.worker.works import Workshop  # imports OpenCV: only here, not in the supervisor

    workshop = Workshop(settings)
    lane = Lane(url, worker_id, incarnation, settings)
    os.write(ready_fd, "\n".join(workshop.capabilities).encode())
    Runner(lane, board, workshop.do, settings).run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _die_with_parent() -> None:
    """Ask Linux to end this process when the supervisor ends, however that ends."""
    if sys.platform != "linux":
        return
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
