"""How the system came back after each fault, step by step, and what it cost."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from labkit.measure.events import Event
from labkit.measure.history import runs
from labkit.measure.lives import LIVE, live, lives
from labkit.measure.timings import done_times, enqueued_ids, good_window_s, work_span

LIMIT_S = 30.0  # the lesson's promise: recovered within this
ENOUGH = 0.8  # of the throughput that the live workers should give
_MENDS = {"pause": "resume", "disconnect": "reconnect", "slow": "full speed"}
_NOTICES = {"died", "silent", "requeued", "released", "joined", "left"}


@dataclass(frozen=True, slots=True)
class Recovery:
    """One fault and what followed, each in seconds after it, or None if it was not seen.

    Attributes:
        fault: "kill", "pause", ...; ``worker`` had it, at ``at_s`` after the first event.
        noticed_s: the first sign: the worker's death, or its task requeued.
        requeued_s: its task was back in the queue.
        rerun_s: that task was claimed again.
        redone_s: every task taken from it was done.
        restored_s: from here on throughput was at least 80 % of what the workers then live
            should give, judged by the rate before the fault; 0 if it never fell below.
        back_s: the worker was active again.
        first_done_s: it had done its first task since.
        tasks: ids of the tasks taken from it while it ran them.
    """

    fault: str
    worker: str
    at_s: float
    noticed_s: float | None
    requeued_s: float | None
    rerun_s: float | None
    redone_s: float | None
    restored_s: float | None
    back_s: float | None
    first_done_s: float | None
    tasks: tuple[str, ...]

    @property
    def settled(self) -> bool:
        """Whether all that was taken from the worker has been done again."""
        return not self.tasks or self.redone_s is not None

    @property
    def last_s(self) -> float | None:
        """When the last of the steps that were seen was reached."""
        steps = (self.noticed_s, self.redone_s, self.restored_s, self.back_s, self.first_done_s)
        return max((s for s in steps if s is not None), default=None)


@dataclass(frozen=True, slots=True)
class Totals:
    """The bill. Exactly-once effects: nothing lost, nothing done twice.

    Attributes:
        redeliveries: runs beyond a task's first.
        fenced: late results that were refused.
        duplicate_effects: tasks done more than once.
        lost: ids of tasks enqueued that are neither done nor dead (yet), nor cancelled by name.
        dead: dead letters.
    """

    redeliveries: int
    fenced: int
    duplicate_effects: int
    lost: tuple[str, ...]
    dead: int


def totals(events: list[Event]) -> Totals:
    """What the faults cost in all."""
    done = Counter(task for e in events if e.kind == "done" for task in e.tasks)
    dead = {task for e in events if e.kind == "dead" for task in e.tasks}
    settled = {t for e in events if e.kind in {"done", "dead", "cancelled"} for t in e.tasks}
    return Totals(
        redeliveries=sum(run.attempt > 1 for run in runs(events)),
        fenced=sum(e.kind == "fenced" for e in events),
        duplicate_effects=sum(times > 1 for times in done.values()),
        lost=tuple(t for t in enqueued_ids(events) if t not in settled),
        dead=len(dead),
    )


def recoveries(events: list[Event]) -> list[Recovery]:
    """One for each fault; what mends one (resume, reconnect, restart of a dead worker) is not."""
    return [_recovery(events, i) for i in faults(events)]


def faults(events: list[Event]) -> list[int]:
    """Where in the list something was broken."""
    spans = lives(events)

    def breaks(event: Event) -> bool:
        kind, now = event.fields.get("fault", ""), event.at_s - events[0].at_s
        if event.kind != "fault" or kind in _MENDS.values():
            return False
        return kind != "restart" or any(
            s.worker == event.worker and s.state in LIVE and s.start_s <= now <= s.end_s
            for s in spans
        )

    return [i for i, event in enumerate(events) if breaks(event)]


def _recovery(events: list[Event], index: int) -> Recovery:
    fault, after = events[index], events[index + 1 :]
    kind, worker = fault.fields.get("fault", ""), fault.worker

    def first(found: Iterable[Event]) -> float | None:
        return next((round(e.at_s - fault.at_s, 6) for e in found), None)

    own = [e for e in after if e.worker == worker]
    if not worker:  # Redis itself: everybody is concerned
        own = after
    back = next((i for i, e in enumerate(own) if _is_back(e, kind)), len(own))
    taken = [e for e in own[: back + 1] if e.kind == "requeued"]
    tasks = tuple(dict.fromkeys(task for e in taken for task in e.tasks))
    requeued_s = first(taken)
    since = [e for e in after if requeued_s is not None and e.at_s >= taken[0].at_s]
    done = [first(e for e in since if e.kind == "done" and task in e.tasks) for task in tasks]
    redone = [s for s in done if s is not None]
    return Recovery(
        fault=kind,
        worker=worker,
        at_s=fault.at_s - events[0].at_s,
        noticed_s=first(e for e in own if e.kind in _NOTICES or e.kind == "recovered"),
        requeued_s=requeued_s,
        rerun_s=first(e for e in since if e.kind == "claimed" and set(tasks) & set(e.tasks)),
        redone_s=max(redone) if redone and len(redone) == len(tasks) else None,
        restored_s=_restored(events, fault.at_s - events[0].at_s),
        back_s=first(own[back : back + 1]),
        first_done_s=first(e for e in own[back:] if e.kind == "done"),
        tasks=tasks,
    )


def _is_back(event: Event, fault: str) -> bool:
    if fault == "redis-restart":
        return event.kind in {"claimed", "recovered"}
    mended = event.kind == "fault" and event.fields.get("fault") == _MENDS.get(fault)
    return event.kind == "active" or mended


def _restored(events: list[Event], at_s: float) -> float | None:
    """When throughput was good again; None if it cannot be told or never was."""
    done_s, window_s = done_times(events), good_window_s(events)
    start_s, end_s = work_span(events)
    instants, counts = live(events)

    def live_from(t: float) -> float:
        return float(counts[max(0, int(np.searchsorted(instants, t, side="right")) - 1)])

    def rate(since_s: float, until_s: float) -> float:
        return float(((done_s > since_s) & (done_s <= until_s)).sum()) / (until_s - since_s)

    before = instants[instants < at_s - 1e-9]
    changed_s = float(before[-1]) if before.size else start_s
    calm_s = max(start_s, changed_s) if at_s - changed_s >= window_s else start_s
    had = live_from(changed_s)
    if at_s - calm_s <= 0 or not had:
        return None
    wanted = ENOUGH * rate(calm_s, at_s) / had
    for t in np.arange(at_s, end_s - window_s + 1e-9, window_s / 4):
        if 0 < wanted * live_from(t) <= rate(t, t + window_s):
            return round(float(t - at_s), 6)
    return None
