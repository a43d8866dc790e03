"""The process that speaks for a worker: it never does the work, so it can always answer.

It forks the runner and then, forty times a second, looks at the board: has the runner died, is a
task past its time, do tasks wait behind a long one? Between looks it beats and reaps.
"""

import logging
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import redis

from labkit.errors import LabkitError, LeaseLost
from labkit.queue import TaskQueue, keys
from labkit.settings import Settings
from labkit.task import Claim
from labkit.worker import runner
from labkit.worker.board import Board, Running

log = logging.getLogger(__name__)

TICK_S = 0.025
HELD_UP_S = 0.02  # nothing waits longer than this for another task of its slice
_EARLY_DEATHS_MAX = 3


class Supervisor:
    """Runs one worker until SIGTERM."""

    def __init__(
        self,
        queue: TaskQueue,
        url: str,
        worker_id: str,
        settings: Settings,
        beat_file: Path | None = None,
    ) -> None:
        self._queue, self._url, self._settings = queue, url, settings
        self._id, self._host = worker_id, socket.gethostname()
        self._incarnation = os.urandom(6).hex()
        self._beat_file = beat_file
        self._board = Board()
        self._capabilities: list[str] = []
        self._ready = self._stopping = self._told_draining = False
        self._pid = self._pipe = 0
        self._early_deaths = 0
        self._freed = ("", 0)
        self._unknown: dict[tuple[str, int], float] = {}  # since when
        self._beat_at = self._reap_at = self._stop_by = 0.0

    def run(self) -> int:
        """Work until told to stop. Returns the exit status: 0 when it left in good order.

        Raises:
            WrongPassword: Redis refused at the start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        if not self._register():
            return 0
        self._start_runner()
        while self._pid:
            self._tick()
        self._try(
            lambda: self._queue.release(self._id, incarnation=self._incarnation, status="left")
        )
        log.info("%s left", self._id)
        return 1 if self._early_deaths >= _EARLY_DEATHS_MAX else 0

    # One life of the runner.

    def _start_runner(self) -> None:
        self._board.clear()
        self._ready = False
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            try:
                runner.main(
                    self._url, self._id, self._incarnation, self._settings, self._board, writer
                )
            except BaseException:
                log.exception("the runner could not go on")
            finally:
                os._exit(1)
        os.close(writer)
        self._pid, self._pipe = pid, reader

    def _tick(self) -> None:
        readable, _, _ = select.select([self._pipe], [], [], TICK_S)
        if readable:
            said = os.read(self._pipe, 4096)
            if said:
                self._capabilities = said.decode().split("\n")
                self._ready, self._beat_at = True, 0.0
            else:
                self._on_runner_gone()
                return
        now_s = time.monotonic()
        running = self._board.running()
        if running:
            self._watch(running)
        if self._stopping:
            self._drain(running, now_s)
        if now_s >= self._beat_at:
            self._beat_at = now_s + self._settings.beat_s
            self._try(lambda: self._beat(running))
        if now_s >= self._reap_at:
            self._reap_at = now_s + self._settings.reap_s * random.uniform(0.8, 1.2)
            self._try(self._queue.reap)

    def _watch(self, running: Running) -> None:
        if running.age_s > running.timeout_s:
            self._stop_overrun(running)
        elif (running.unstarted or running.unsent) and running.age_s > HELD_UP_S:
            self._board.recall(running.slice_number)
            again = self._board.running()  # after the flag is up, what has not begun never will
            if again and again.slice_number == running.slice_number and again.task != self._freed:
                self._freed = again.task
                self._try(lambda: self._free(again))

    def _free(self, running: Running) -> None:
        """A task of a slice is long: let nothing wait for it."""
        for task_id, token, label, result in running.unsent:
            claim = Claim(task_id, token, b"")
            self._queue.ack_many(self._id, [(claim, result)], label=label)
        if running.unstarted:
            self._queue.recall(self._id, running.unstarted)

    def _stop_overrun(self, running: Running) -> None:
        task_id, token = running.task
        log.error("task %s ran longer than %.1f s: stopping it", task_id, running.timeout_s)
        self._kill_runner()  # first, so that it cannot finish meanwhile
        claim = Claim(task_id, token, b"")
        reason = f"ran longer than {running.timeout_s:g} s"
        self._try(lambda: self._queue.fail(self._id, claim, reason))
        self._try(lambda: self._queue.release(self._id, incarnation=self._incarnation))
        self._start_runner()

    def _on_runner_gone(self) -> None:
        os.close(self._pipe)
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        if self._stopping:
            return
        how = _how_it_ended(status)
        log.error("the runner of %s died (%s); starting another", self._id, how)
        running = self._board.running()
        if running:  # then only what killed it is left to be counted
            self._try(lambda: self._free(running), insist=True)
        self._try(
            lambda: self._queue.release(self._id, incarnation=self._incarnation, died=how),
            insist=True,
        )
        self._early_deaths = 0 if self._ready else self._early_deaths + 1
        if self._early_deaths >= _EARLY_DEATHS_MAX:
            log.error("%s cannot start its runner; giving up", self._id)
            return
        self._start_runner()

    def _kill_runner(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._pipe)
        self._pid = 0

    # Stopping.

    def _on_stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _drain(self, running: Running | None, now_s: float) -> None:
        if not self._told_draining:
            self._told_draining = True
            self._stop_by = now_s + self._settings.grace_s
            self._beat_at = 0.0
            self._board.drain()
            log.info("%s was told to stop: finishing the task in hand", self._id)
        if running is None or now_s > self._stop_by:
            self._kill_runner()  # an idle one holds nothing; one out of time gives its task back

    # Talking to Redis.

    def _register(self) -> bool:
        while not self._stopping:
            entry = self._entry("starting", None)
            arguments = [
                self._id,
                entry,
                self._settings.max_crashes,
                round(3000 * self._settings.beat_s),
            ]
            try:
                if self._queue.call("register", [keys.WORKERS, keys.BEATS], arguments) == 1:
                    return True
                taken, self._id = self._id, f"{self._id}-{self._host[:12]}"
                log.warning("another live worker is called %s: this one is %s", taken, self._id)
            except LabkitError as error:
                if type(error).__name__ in ("WrongPassword", "SettingInvalid"):
                    raise
                log.warning("%s", error.what)
                time.sleep(random.uniform(0.1, 0.5))
        return False

    def _beat(self, running: Running | None) -> None:
        status = "draining" if self._stopping else "busy" if running else "active"
        entry = self._entry(status if self._ready else "starting", running)
        held = self._queue.call(
            "beat",
            [keys.WORKERS, keys.BEATS, keys.LEASES, keys.held(self._id)],
            [self._id, entry, round(self._settings.lease_s * 1000)],
        )
        tasks, tokens = held[::2], held[1::2]
        self._disown({(t.decode(), int(n)) for t, n in zip(tasks, tokens, strict=True)}, running)
        if self._beat_file:
            new = self._beat_file.with_suffix(".new")
            new.write_text(f"{time.monotonic()}\n", encoding="utf-8")
            new.replace(self._beat_file)  # nobody reads half of it

    def _disown(self, held: set[tuple[str, int]], running: Running | None) -> None:
        """Give back what we hold and the runner does not know: a claim whose answer was lost."""
        now_s = time.monotonic()
        if running:
            held -= {running.task, *running.unstarted, *(done[:2] for done in running.unsent)}
        self._unknown = {pair: self._unknown.get(pair, now_s) for pair in held}
        # It may be an answer that is still on its way, so a whole lease is waited.
        lost = [
            p for p, since_s in self._unknown.items() if now_s - since_s > self._settings.lease_s
        ]
        if lost:
            log.warning("%d tasks came here and were lost on the way: giving them back", len(lost))
            self._queue.recall(self._id, lost)

    def _entry(self, status: str, running: Running | None) -> bytes:
        return msgspec.json.encode(
            {
                "id": self._id,
                "status": status,
                "capabilities": self._capabilities,
                "current": running.task[0] if running else None,
                "incarnation": self._incarnation,
                "host": self._host,
                "pid": os.getpid(),
            }
        )

    def _try(self, call: Callable[[], object], *, insist: bool = False) -> None:
        """Call Redis; if it is away, say so and go on, or insist until it is back."""
        while True:
            try:
                call()
            except LeaseLost as error:
                log.warning("%s", error.what)
            except (LabkitError, redis.RedisError, OSError) as error:
                log.warning("%s", str(error).partition("\n")[0])
                if insist and not self._stopping:
                    time.sleep(random.uniform(0.1, 0.5))
                    continue
            return


def _how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"crashed: {signal.Signals(-code).name}"
    except ValueError:  # the real-time ones have no names
        return f"crashed: signal {-code}"
