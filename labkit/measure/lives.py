"""The life of every worker, and how many were live when."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labkit.measure import words
from labkit.measure.events import Event

Floats = NDArray[np.float64]

LIVE = {"active", "draining"}
GONE = {"died", "left"}
_STATE = {
    "joined": "starting",
    "active": "active",
    "draining": "draining",
    "left": "left",
    "died": "died",
}
_BROKEN = {"kill": "died", "pause": "paused", "disconnect": "disconnected"}
_MENDED = {"resume": "paused", "reconnect": "disconnected"}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a worker's life.

    Attributes:
        state: "starting", "active", "draining", "paused", "disconnected", "left" or "died".
        start_s: seconds since the first event; ``end_s`` likewise.
    """

    worker: str
    state: str
    start_s: float
    end_s: float


def lives(events: list[Event]) -> list[Span]:
    """Every worker's spans, worker by worker, each from its first sign to the last event."""
    changes: dict[str, list[tuple[float, str]]] = {}
    for event in events:
        if not event.worker:
            continue
        known = changes.setdefault(event.worker, [])
        now = known[-1][1] if known else ""
        new = _next(event, now)
        if new and new != now:
            known.append((event.at_s - events[0].at_s, new))
    last_s = events[-1].at_s - events[0].at_s if events else 0.0
    spans = []
    for worker in sorted(changes, key=words.by_number):
        known = changes[worker]
        ends = [start_s for start_s, _state in known[1:]] + [last_s]
        spans += [
            Span(worker, state, start_s, end_s)
            for (start_s, state), end_s in zip(known, ends, strict=False)
        ]
    return spans


def _next(event: Event, now: str) -> str:
    """The state that follows from one event, or "" for no change."""
    if event.kind in _STATE:
        return _STATE[event.kind]
    if event.kind in {"claimed", "done"} and now in {"", "starting"}:
        return "active"  # it works, so it is up
    fault = event.fields.get("fault", "") if event.kind == "fault" else ""
    if fault in _BROKEN:
        return _BROKEN[fault]
    return "active" if fault in _MENDED and now == _MENDED[fault] else ""


def live(events: list[Event]) -> tuple[Floats, Floats]:
    """How many workers were live, as steps: instants in s, and the number from each on."""
    steps: dict[float, int] = {0.0: 0}
    last_s = events[-1].at_s - events[0].at_s if events else 0.0
    for span in lives(events):
        if span.state in LIVE:
            steps[span.start_s] = steps.get(span.start_s, 0) + 1
            if span.end_s < last_s:
                steps[span.end_s] = steps.get(span.end_s, 0) - 1
    at_s = sorted(steps)
    return np.array(at_s), np.cumsum([steps[t] for t in at_s], dtype=np.float64)
