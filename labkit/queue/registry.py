"""Who is alive, and since when we have not heard of the others.

A worker's entry is JSON in the hash ``workers``, written whole by every beat. What a reader sees as
its status is decided here, by the age of its last beat on the clock of Redis.
"""

from typing import Any, Literal

import msgspec

from labkit.connection import in_our_words, url_of
from labkit.queue import keys
from labkit.settings import Settings

Status = Literal["starting", "active", "busy", "draining", "suspect", "dead"]


class WorkerInfo(msgspec.Struct, kw_only=True):
    """A worker as the registry shows it.

    Attributes:
        id: its name.
        status: starting, active, busy, draining as it said itself; suspect after three beats of
            silence, dead after a whole lease of it, or when its death was seen.
        last_heartbeat: seconds since the epoch, clock of Redis.
        beat_age_s: seconds since its last beat.
        current: id of the task in hand.
        incarnation: one life of the worker; a restart begins another.
    """

    id: str
    status: Status = "starting"
    capabilities: list[str] = []
    tasks_completed: int = 0
    tasks_failed: int = 0
    last_heartbeat: float = 0.0
    started_at: float = 0.0
    current: str | None = None
    incarnation: str = ""
    host: str = ""
    pid: int = 0
    beat_age_s: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether it can be expected to do work."""
        return self.status not in ("dead", "suspect")


class Registry:
    """Read the workers. Entries are written by the worker's own beats."""

    def __init__(self, client: Any, settings: Settings | None = None) -> None:
        self.client = client
        self.settings = settings or Settings()
        self.url = url_of(client)

    def workers(self) -> list[WorkerInfo]:
        """All known workers, by name. An unreadable entry is shown as dead, not raised."""
        with in_our_words(self.url), self.client.pipeline(transaction=False) as pipe:
            entries, (seconds, micros) = pipe.hgetall(keys.WORKERS).time().execute()
        now_s = seconds + micros / 1e6
        found = [
            self._read(name.decode(errors="replace"), entry, now_s)
            for name, entry in entries.items()
        ]
        return sorted(found, key=lambda worker: worker.id)

    def alive(self) -> list[WorkerInfo]:
        """The workers that can be expected to do work."""
        return [worker for worker in self.workers() if worker.alive]

    def _read(self, worker_id: str, entry: bytes, now_s: float) -> WorkerInfo:
        try:
            worker = msgspec.json.decode(entry, type=WorkerInfo)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return WorkerInfo(id=worker_id, status="dead")
        worker.beat_age_s = max(0.0, now_s - worker.last_heartbeat)
        if worker.beat_age_s > self.settings.lease_s:
            worker.status = "dead"
        elif worker.beat_age_s > 3 * self.settings.beat_s and worker.status != "dead":
            worker.status = "suspect"
        return worker
