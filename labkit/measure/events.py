"""Read what happened, when, to which task, on which worker.

Events are written by the Lua transitions, stamped by Redis; :class:`Event` is one of them.

=============  =======================================================================
kind           fields
=============  =======================================================================
``enqueued``   batch, count, first (the number of the first of them)
``claimed``    worker, tasks (ids, space separated: one slice)
``done``       tasks (one, or several that were too short to ack alone), worker, op
``failed``     task, worker, reason, retry_ms: will be tried again
``dead``       task, worker, reason: a dead letter
``requeued``   task, worker (who had it), reason ("killed", "crashed", "expired"); it was running
``released``   tasks, worker: given back unstarted, not counted against them
``fenced``     task, worker: a late result, refused
``cancelled``  tasks: taken back by the client before any worker began them
``recovered``  leases: after an outage every lease was granted a full term
``joined``     worker: registered, starting      ``active``    worker: ready for work
``draining``   worker: got SIGTERM               ``left``      worker: gone in good order
``silent``     worker: no beat for a whole lease
``died``       worker, reason                    ``fault``     worker, fault ("kill", "pause", ...)
=============  =======================================================================
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labkit.queue.keys import EVENTS


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        id: position in the stream, ``milliseconds-sequence``.
        at_s: seconds since the epoch by the clock of Redis, to the millisecond.
        kind: see the table above.
        fields: the rest, as text.
    """

    id: str
    at_s: float
    kind: str
    fields: dict[str, str]

    @property
    def worker(self) -> str:
        """The worker concerned, or ""."""
        return self.fields.get("worker", "")

    @property
    def tasks(self) -> list[str]:
        """The ids of the tasks concerned: none, one or many."""
        return self.fields.get("task", self.fields.get("tasks", "")).split()


def parse(entry_id: bytes, raw: dict[bytes, bytes]) -> Event:
    """Turn one stream entry into an Event."""
    fields = {k.decode(): v.decode(errors="replace") for k, v in raw.items()}
    at_s = int(entry_id.split(b"-")[0]) / 1000
    return Event(entry_id.decode(), at_s, fields.pop("kind", "?"), fields)


def last_id(client: Any) -> str:
    """The newest position, to read only what comes after; "0-0" in an empty stream."""
    newest = client.xrevrange(EVENTS, count=1)
    return newest[0][0].decode() if newest else "0-0"


def read(client: Any, after: str = "0-0", *, page: int = 1000) -> Iterator[Event]:
    """Yield every event after a position, oldest first."""
    while entries := client.xrange(EVENTS, min=f"({after}", count=page):
        for entry_id, raw in entries:
            yield parse(entry_id, raw)
        after = entries[-1][0].decode()


def record(client: Any, kind: str, **fields: str) -> None:
    """Write an event of our own, such as a fault that somebody injects, on the clock of Redis."""
    client.xadd(EVENTS, {"kind": kind, **fields}, maxlen=200_000, approximate=True)
