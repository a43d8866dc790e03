"""Who did how much, how long it took and how fast it went, from the events alone."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np

from labkit.measure import words
from labkit.measure.events import Event
from labkit.measure.history import runs
from labkit.measure.lives import Floats


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker did of the whole."""

    worker: str
    done: int
    fraction: float


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of ``count`` latencies, in seconds; all 0 when there are none."""

    p50_s: float
    p90_s: float
    p99_s: float
    count: int


@dataclass(frozen=True, slots=True)
class Throughput:
    """Tasks per second in consecutive windows that cover the work exactly.

    Attributes:
        start_s: where each window starts, seconds since the first event.
        per_s: tasks done in it, per second.
        window_s: how long each is.
    """

    start_s: Floats
    per_s: Floats
    window_s: float


def done_times(events: list[Event]) -> Floats:
    """When each task was done, in order, seconds since the first event."""
    return np.array(
        [e.at_s - events[0].at_s for e in events if e.kind == "done" for _task in e.tasks],
        dtype=float,
    )


def work_span(events: list[Event]) -> tuple[float, float]:
    """From the first claim to the last task done; (0, 0) when nothing was done."""
    done_s = done_times(events)
    if not done_s.size:
        return 0.0, 0.0
    claimed_s = [e.at_s - events[0].at_s for e in events if e.kind == "claimed"]
    return min([*claimed_s, float(done_s[0])]), float(done_s[-1])


def images_per_s(events: list[Event]) -> float:
    """Tasks done per second, from the first claim to the last one done."""
    start_s, end_s = work_span(events)
    return done_times(events).size / (end_s - start_s) if end_s > start_s else 0.0


def shares(
    events: list[Event], *, start_s: float = 0.0, end_s: float = float("inf")
) -> list[Share]:
    """Each worker's share of the tasks done in a stretch of time; idle workers have 0."""
    known = {e.worker for e in events if e.worker}
    done: Counter[str] = Counter()
    for event in events:
        if event.kind == "done" and start_s <= event.at_s - events[0].at_s <= end_s:
            done[event.worker] += len(event.tasks)
    total = done.total()
    return [
        Share(worker, done[worker], done[worker] / total if total else 0.0)
        for worker in sorted(known | set(done), key=words.by_number)
    ]


def latencies(events: list[Event], since: Literal["claimed", "enqueued"] = "claimed") -> Floats:
    """Seconds from claim (or enqueue) to done, of every task done, in order of the latter."""
    start_s = dict(_enqueued(events)) if since == "enqueued" else {}
    found = []
    for run in sorted(runs(events), key=lambda run: run.known_s):
        if run.outcome != "done":
            continue
        if since == "claimed":
            found.append(run.known_s - run.claimed_s)
        elif run.task in start_s:
            found.append(run.known_s - start_s[run.task])
    return np.array(found, dtype=float)


def enqueued_ids(events: list[Event]) -> list[str]:
    """The ids of all tasks enqueued: ``<batch>:<n>``, n from 0."""
    return [task for task, _at_s in _enqueued(events)]


def _enqueued(events: list[Event]) -> list[tuple[str, float]]:
    """Ids and when. A batch whose events do not say where they start goes on counting."""
    found = []
    counted: defaultdict[str, int] = defaultdict(int)
    for event in events:
        batch = event.fields.get("batch", "")
        if event.kind == "enqueued" and batch:
            first = int(event.fields.get("first", counted[batch]))
            counted[batch] = first + int(event.fields.get("count", 0))
            at_s = event.at_s - events[0].at_s
            found += [(f"{batch}:{n}", at_s) for n in range(first, counted[batch])]
    return found


def percentiles(values_s: Floats) -> Percentiles:
    """The middle and the tail: latencies are not bell-shaped, so a mean would mislead."""
    if not values_s.size:
        return Percentiles(0.0, 0.0, 0.0, 0)
    p50_s, p90_s, p99_s = np.percentile(values_s, [50, 90, 99])
    return Percentiles(float(p50_s), float(p90_s), float(p99_s), values_s.size)


def good_window_s(events: list[Event]) -> float:
    """A window of about 30 tasks, rounded to 1, 2 or 5: short, and not yet noise."""
    rate = images_per_s(events)
    if not rate:
        return 1.0
    wanted = max(30 / rate, 0.05)
    unit = 10.0 ** np.floor(np.log10(wanted))
    return float(min((step * unit for step in (1, 2, 5, 10)), key=lambda s: abs(s - wanted)))


def throughput(events: list[Event], window_s: float | None = None) -> Throughput:
    """Tasks per second over time, in windows of about ``window_s``."""
    start_s, end_s = work_span(events)
    if end_s <= start_s:
        return Throughput(np.array([]), np.array([]), window_s or 1.0)
    bins = max(1, round((end_s - start_s) / (window_s or good_window_s(events))))
    counts, edges = np.histogram(done_times(events), bins=bins, range=(start_s, end_s))
    width_s = (end_s - start_s) / bins
    return Throughput(edges[:-1], counts / width_s, width_s)
