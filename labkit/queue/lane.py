"""A worker's own connection: it speaks without waiting for the answer.

An acknowledgement is sent as soon as a task is done, so that a crash repeats at most what was
running; its answer is read together with the next claim's. A busy worker thus pays one round trip
a slice of tasks. After a broken connection everything that was not answered is sent again
(acks are idempotent), and what the server believes this worker to hold is given back.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import redis
from redis.exceptions import NoScriptError, ResponseError

from labkit.connection import connect
from labkit.queue import keys, scripts
from labkit.queue.task_queue import (
    ack_arguments,
    ack_keys,
    claim_arguments,
    claim_keys,
    fail_arguments,
    fail_keys,
    read_claims,
    recall_arguments,
    release_arguments,
)
from labkit.settings import Settings
from labkit.task import Claim

log = logging.getLogger(__name__)

_GONE = (redis.ConnectionError, redis.TimeoutError, OSError)
_TRANSITIONS = ("claim", "ack", "fail", "release", "recall")
_ANOTHER = -1  # as the number of tries: not tried, for another worker
Command = tuple[str | int | bytes, ...]


class Lane:
    """One worker's path to the queue. Not for sharing between threads."""

    def __init__(self, url: str, worker_id: str, incarnation: str, settings: Settings) -> None:
        self.worker_id, self.settings = worker_id, settings
        self._incarnation = incarnation
        self._client: Any = connect(url, retries=0)
        self._connection: Any = None
        self._unanswered: deque[Command] = deque()
        self._outbox: list[Command] = []  # of those, what goes out with the next command
        self._ack_keys = ack_keys(worker_id)
        self._claim_keys = claim_keys(worker_id)

    def claim(self, count: int) -> list[Claim]:
        """Take up to ``count`` tasks; on the way, learn what became of the acks before.

        Raises:
            redis.ConnectionError: the connection broke; call :meth:`reopen`.
        """
        arguments = claim_arguments(self.worker_id, count, self.settings)
        self._write(_command("claim", self._claim_keys, arguments))
        self.settle()
        return read_claims(self._answer())

    def ack(
        self, finished: list[tuple[Claim, bytes]], label: str, *, with_next: bool = False
    ) -> None:
        """Send the results of tasks; do not wait.

        Args:
            finished: the tasks and their results.
            label: what was done, for the events.
            with_next: the next command follows at once, so send both together then.
        """
        arguments = ack_arguments(self.worker_id, finished, label, self.settings)
        command = _command("ack", self._ack_keys, arguments)
        if with_next:
            self._unanswered.append(command)
            self._outbox.append(command)
        else:
            self._send(command)

    def fail(self, claim: Claim, reason: str, *, retry: bool) -> None:
        """Send that a task failed; do not wait."""
        self._fail(claim, reason, self.settings.max_tries if retry else 0)

    def leave(self, claim: Claim, reason: str) -> None:
        """Send that another worker should have this task, later; do not wait."""
        self._fail(claim, reason, _ANOTHER)

    def _fail(self, claim: Claim, reason: str, tries: int) -> None:
        arguments = fail_arguments(self.worker_id, claim, reason, tries)
        self._send(_command("fail", fail_keys(self.worker_id, claim.id), arguments))

    def give_back(self, unstarted: list[Claim]) -> None:
        """Send that these tasks were not begun; do not wait."""
        arguments = recall_arguments(self.worker_id, [(c.id, c.token) for c in unstarted])
        self._send(_command("recall", [keys.held(self.worker_id)], arguments))

    def settle(self) -> None:
        """Read the answers that are due."""
        self._write()
        while self._unanswered:
            try:
                answer = self._answer()
            except ResponseError as error:  # a stranger's data under one of our names, say
                if not str(error).startswith("MISCONF"):  # that will pass; other things will not
                    self._unanswered.popleft()
                # To start anew gives back what is held; else beats would hold it for ever.
                raise redis.ConnectionError(f"Redis refused a result: {error}") from None
            if isinstance(answer, list) and 0 in answer:
                log.warning("a late result was refused: the task is another worker's now")
            self._unanswered.popleft()

    def wait(self, seconds: float) -> None:
        """Return when a task waits, or after some time. Takes nothing.

        Moving the head of the list onto itself blocks while the list is empty and changes nothing
        when it is not; a worker that is frozen meanwhile holds no task.
        """
        try:
            self._write(("BLMOVE", keys.PENDING, keys.PENDING, "LEFT", "LEFT", str(seconds)))
            self._answer()
        except ResponseError:  # out of memory, for one: then look now and then
            time.sleep(random.uniform(0.05, 0.15))

    def image(self, digest: str) -> bytes | None:
        """Fetch image bytes; None if they are gone."""
        self._write(("GET", keys.image(digest)))
        self.settle()
        found: bytes | None = self._answer()
        return found

    def reopen(self, give_up: Callable[[], bool]) -> bool:
        """Connect again, with patience; then repeat what was not answered and give back the rest.

        Args:
            give_up: asked before each attempt.

        Returns:
            False if it gave up.
        """
        delay_s = 0.05
        time.sleep(random.uniform(0, delay_s))  # all workers lost it at the same moment
        while not give_up():
            self._drop()
            try:
                repeat, connection = list(self._unanswered), self._open()
                for command in repeat:
                    connection.send_command(*command)
                self.settle()
                arguments = release_arguments(
                    self.worker_id, self._incarnation, "", "", self.settings
                )
                connection.send_command(*_command("release", [keys.WORKERS], arguments))
                self._answer()
            except (*_GONE, ResponseError) as error:
                log.info("no connection to Redis yet: %s", error)
                time.sleep(random.uniform(delay_s / 2, delay_s))
                delay_s = min(delay_s * 2, 1.0)
            else:
                return True
        return False

    def close(self) -> None:
        """Close the connection."""
        self._drop()

    def _open(self) -> Any:
        if self._connection is None:
            self._connection = self._client.connection_pool.get_connection()
            try:
                for name in _TRANSITIONS:
                    self._connection.send_command("SCRIPT", "LOAD", scripts.load(name).text)
                    self._connection.read_response()
            except BaseException:
                self._drop()
                raise
        return self._connection

    def _drop(self) -> None:
        self._outbox.clear()  # unanswered as well, so it will be repeated
        if self._connection is not None:
            self._connection.disconnect()
            self._client.connection_pool.release(self._connection)
            self._connection = None

    def _send(self, command: Command) -> None:
        self._unanswered.append(command)  # first: if sending breaks, it will be repeated
        self._write(command)

    def _write(self, *commands: Command) -> None:
        """Send what waits in the outbox and these, in one piece."""
        connection = self._open()
        due, self._outbox = [*self._outbox, *commands], []
        if due:
            connection.send_packed_command([b"".join(connection.pack_commands(due))])

    def _answer(self) -> Any:
        if self._connection is None:
            raise redis.ConnectionError("not connected")
        try:
            return self._connection.read_response()
        except NoScriptError:  # somebody flushed the scripts: as good as a new server
            raise redis.ConnectionError("scripts were flushed") from None


def _command(name: str, names: list[str], arguments: list[Any]) -> Command:
    return ("EVALSHA", scripts.load(name).sha, len(names), *names, *arguments)
