"""The queue: at-least-once delivery, effects exactly once.

A task is always in exactly one state::

    nothing --enqueue--> pending --claim--> leased --ack--> done
                            ^                 |
                            |<---release------|  its worker stopped or died, or the lease ran out
                            |<--delayed<--fail|  it raised, and may be tried again
                            |                 +--fail--> dead   with a reason
                            +--cancel--> cancelled

Each arrow is one Lua script under ``lua/``. A worker may run a task a second time after a crash;
the fencing token lets only one result through.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from labkit.connection import in_our_words, url_of
from labkit.errors import LeaseLost, QueueFull
from labkit.queue import keys, scripts
from labkit.settings import Settings
from labkit.task import Claim, Work, encode

CHUNK = 500  # tasks a script call; the server answers others in between


@dataclass(frozen=True, slots=True)
class Depth:
    """How many tasks are where."""

    waiting: int
    leased: int
    delayed: int
    dead: int


class TaskQueue:
    """Tasks in Redis. Safe to share between threads; every call is one round trip or a few."""

    def __init__(self, client: Any, settings: Settings | None = None) -> None:
        self.client = client
        self.settings = settings or Settings()
        self.url = url_of(client)

    def enqueue(self, batch_id: str, works: Sequence[Work], *, first: int = 0) -> list[str]:
        """Add tasks to the queue; their ids are ``<batch_id>:<n>``.

        Safe to repeat: tasks that exist already are left as they are. Either all tasks of a call
        of up to 500 are added, or none.

        Args:
            batch_id: the batch they belong to.
            works: what to do.
            first: number of the first task.

        Raises:
            QueueFull: the backlog is at its limit; the tasks of this and later chunks were not
                added, those of earlier chunks were.
            StoreFull: Redis is out of memory.
            RedisUnavailable: Redis does not answer; repeat the call with the same arguments.
        """
        ids = [f"{batch_id}:{n}" for n in range(first, first + len(works))]
        for start in range(0, len(works), CHUNK):
            arguments: list[str | bytes] = []
            for task_id, work in zip(ids[start : start + CHUNK], works[start:], strict=False):
                arguments += (task_id, encode(work))
            added, waiting = self.call(
                "enqueue",
                [keys.PENDING],
                [batch_id, self.settings.max_backlog, *arguments],
            )
            if added < 0:
                raise QueueFull(waiting, self.settings.max_backlog)
        return ids

    def claim(self, worker_id: str, count: int = 1) -> list[Claim]:
        """Take up to ``count`` tasks, with a lease and a token each; [] if none waits."""
        reply = self.call(
            "claim",
            claim_keys(worker_id),
            claim_arguments(worker_id, count, self.settings),
        )
        return read_claims(reply)

    def ack(self, worker_id: str, claim: Claim, result: bytes = b"", *, label: str = "") -> None:
        """Finish a task and publish its result. Repeating the same ack is harmless.

        Raises:
            LeaseLost: the task is somebody else's by now; the result was dropped.
        """
        if self.ack_many(worker_id, [(claim, result)], label=label) == [0]:
            raise LeaseLost(claim.id, self._holder(claim.id))

    def cancel(self, task_ids: Sequence[str]) -> int:
        """Forget tasks that no worker has begun. Returns how many; the others run to their end."""
        ttl_ms = _ms(self.settings.result_ttl_s)
        return int(self.call("cancel", [keys.OWNERS], [ttl_ms, *task_ids])) if task_ids else 0

    def ack_many(
        self, worker_id: str, finished: Sequence[tuple[Claim, bytes]], *, label: str = ""
    ) -> list[int]:
        """Finish several tasks at once. For each: 1 done, 2 was done already, 0 lease lost."""
        arguments = ack_arguments(worker_id, finished, label, self.settings)
        return list(self.call("ack", ack_keys(worker_id), arguments))

    def fail(self, worker_id: str, claim: Claim, reason: str, *, retry: bool = True) -> bool:
        """Say that a task failed. Returns whether it will be tried again.

        Args:
            worker_id: who had it.
            claim: the task and its token.
            reason: kept with the dead letter.
            retry: False when trying again cannot help.

        Raises:
            LeaseLost: the task is somebody else's by now.
        """
        reply = self.call(
            "fail",
            fail_keys(worker_id, claim.id),
            fail_arguments(worker_id, claim, reason, self.settings.max_tries if retry else 0),
        )
        if reply == 0:
            raise LeaseLost(claim.id, self._holder(claim.id))
        return bool(reply == 1)

    def release(
        self,
        worker_id: str,
        *,
        incarnation: str = "",
        died: str = "",
        status: str = "",
    ) -> int:
        """Give back what a worker holds. Returns how many it held, -1 if it lives again.

        Args:
            worker_id: the worker.
            incarnation: only this life of it; "" for any.
            died: how it died; then the task it was running counts a crash. "" if it did not.
            status: "dead" or "left" to say so in the registry.
        """
        arguments = release_arguments(worker_id, incarnation, died, status, self.settings)
        return int(self.call("release", [keys.WORKERS], arguments))

    def recall(self, worker_id: str, unstarted: Sequence[tuple[str, int]]) -> int:
        """Give back tasks that a worker took but has not begun: (id, token) each."""
        return int(
            self.call("recall", [keys.held(worker_id)], recall_arguments(worker_id, unstarted))
        )

    def reap(self) -> int:
        """Requeue tasks whose lease ran out. Returns how many; -1 right after an outage."""
        settings = self.settings
        gap_s = max(3 * settings.reap_s, settings.lease_s / 2)
        return int(
            self.call(
                "reap",
                [keys.LEASES, keys.DELAYED, keys.REAPED_AT, keys.BEATS],
                [_ms(settings.lease_s), _ms(gap_s), settings.max_crashes, _ms(600)],
            )
        )

    def depth(self) -> Depth:
        """Count the tasks in each place."""
        with in_our_words(self.url), self.client.pipeline(transaction=False) as pipe:
            pipe.llen(keys.PENDING).zcard(keys.LEASES).zcard(keys.DELAYED).llen(keys.DEAD)
            waiting, leased, delayed, dead = pipe.execute()
        return Depth(waiting, leased, delayed, dead)

    def task(self, task_id: str) -> dict[str, str]:
        """What Redis knows about a task: state, worker, tries, crashes, error; {} if it is gone.

        The state is pending, leased, delayed, done or dead.
        """
        with in_our_words(self.url), self.client.pipeline(transaction=False) as pipe:
            found, owner = pipe.hgetall(keys.task(task_id)).hget(keys.OWNERS, task_id).execute()
        if not found:
            return {}
        known = {name.decode(): value.decode(errors="replace") for name, value in found.items()}
        if owner:
            return known | {"state": "leased", "worker": owner.decode()}
        return {"state": "pending"} | known

    def result(self, task_id: str) -> bytes | None:
        """The published result; None if there is none (yet, or any more)."""
        with in_our_words(self.url):
            found: bytes | None = self.client.get(keys.result(task_id))
        return found

    def put_image(self, digest: str, data: bytes) -> None:
        """Store image bytes by their digest, and keep them for another ``image_ttl_s``.

        Raises:
            StoreFull: Redis is out of memory.
        """
        self.put_images({digest: data})

    def put_images(self, images: Mapping[str, bytes]) -> None:
        """Store several images in one round trip; see :meth:`put_image`."""
        ttl_ms = _ms(self.settings.image_ttl_s)
        with in_our_words(self.url), self.client.pipeline(transaction=False) as pipe:
            for digest, data in images.items():
                pipe.set(keys.image(digest), data, px=ttl_ms)
            pipe.execute()

    def call(self, name: str, names: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run one transition by hash; send its text the first time a server sees it."""
        script = scripts.load(name)
        with in_our_words(self.url):
            try:
                return self.client.evalsha(script.sha, len(names), *names, *arguments)
            except redis.exceptions.NoScriptError:
                return self.client.eval(script.text, len(names), *names, *arguments)

    def _holder(self, task_id: str) -> str:
        found = self.task(task_id)
        return found.get("worker", "") if found.get("state") == "leased" else ""


def claim_keys(worker_id: str) -> list[str]:
    """KEYS of claim.lua."""
    return [
        keys.PENDING,
        keys.LEASES,
        keys.OWNERS,
        keys.held(worker_id),
        keys.BEATS,
        keys.TOKEN,
    ]


def claim_arguments(worker_id: str, count: int, settings: Settings) -> list[str | int]:
    """ARGV of claim.lua."""
    return [worker_id, _ms(settings.lease_s), count]


def read_claims(reply: list[Any]) -> list[Claim]:
    """Turn the flat reply of claim.lua into claims."""
    return [Claim(reply[i].decode(), reply[i + 1], reply[i + 2]) for i in range(0, len(reply), 3)]


def ack_keys(worker_id: str) -> list[str]:
    """KEYS of ack.lua."""
    return [keys.held(worker_id)]


def ack_arguments(
    worker_id: str, finished: Sequence[tuple[Claim, bytes]], label: str, settings: Settings
) -> list[str | int | bytes]:
    """ARGV of ack.lua."""
    arguments: list[str | int | bytes] = [worker_id, label, _ms(settings.result_ttl_s)]
    for claim, result in finished:
        arguments += (claim.id, claim.token, result)
    return arguments


def fail_keys(worker_id: str, task_id: str) -> list[str]:
    """KEYS of fail.lua."""
    return [keys.held(worker_id), keys.task(task_id), keys.DELAYED]


def fail_arguments(worker_id: str, claim: Claim, reason: str, tries: int) -> list[str | int]:
    """ARGV of fail.lua; the delay is drawn, so that failures do not come back in herds."""
    delay_ms = _ms(random.uniform(0.5, 1.0))
    return [worker_id, claim.id, claim.token, reason[:2000], tries, delay_ms]


def release_arguments(
    worker_id: str, incarnation: str, died: str, status: str, settings: Settings
) -> list[str | int]:
    """ARGV of release.lua."""
    return [worker_id, incarnation, died, int(bool(died)), settings.max_crashes, status]


def recall_arguments(worker_id: str, unstarted: Sequence[tuple[str, int]]) -> list[str | int]:
    """ARGV of recall.lua."""
    return [worker_id, *(part for pair in unstarted for part in pair)]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
