"""What became of every claim: runs for the figures, a story in words for one task.

Times are seconds since the first event, by the clock of Redis.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Literal, cast

from labkit.i18n import _
from labkit.measure import words
from labkit.measure.events import Event

Outcome = Literal["done", "requeued", "failed", "dead", "running", "fenced"]
_FINAL = {"done", "failed", "dead", "fenced"}


@dataclass(frozen=True, slots=True)
class Run:
    """One task on one worker, once.

    A worker holds a slice of tasks and runs them in order, so a run starts when the worker had
    both claimed the task and ended the one before: runs of one worker never overlap.

    Attributes:
        op: what it did ("sharpen+edges"), known once the task is done; else "".
        end_s: when it ended; for "running", the last event or the worker's end. Short tasks that
            were acknowledged together are given equal parts of the time that they took.
        known_s: when the outcome was written down, never before ``end_s``.
        outcome: "requeued" is a run whose task was taken away; "fenced" is one whose late result
            was refused besides; "running" had no outcome yet.
        attempt: 1 for the first run of the task.
    """

    task: str
    worker: str
    op: str
    claimed_s: float
    start_s: float
    end_s: float
    known_s: float
    outcome: Outcome
    attempt: int


@dataclass(slots=True, eq=False)
class _Claim:
    task: str
    worker: str
    claimed_s: float
    outcome: str = "running"  # or how it ended; "released": given back before it started
    end_s: float | None = None
    closed: float = float("inf")  # by which event


def runs(events: list[Event]) -> list[Run]:
    """Every run, in order of start. A task that was given back unstarted is not one."""
    claims, ops = _claims(events)
    last_s = events[-1].at_s - events[0].at_s if events else 0.0
    for claim in claims:
        claim.end_s = last_s if claim.end_s is None else claim.end_s
    together = Counter((c.worker, c.closed) for c in claims if c.outcome != "released")
    free_s: defaultdict[str, float] = defaultdict(float)
    started: list[tuple[_Claim, float, float]] = []
    waits: set[tuple[str, float]] = set()
    for claim in sorted(claims, key=lambda claim: (claim.end_s or 0, claim.closed)):
        known_s = claim.end_s or 0.0
        unstarted = claim.outcome == "running" and (claim.worker, known_s) in waits
        if unstarted or claim.outcome == "released":
            continue
        start_s = max(claim.claimed_s, free_s[claim.worker])
        end_s = max(start_s, known_s)
        if claim.outcome == "running":
            waits.add((claim.worker, known_s))  # what it holds beside this one has not started
        else:
            end_s = start_s + (end_s - start_s) / together[claim.worker, claim.closed]
            together[claim.worker, claim.closed] -= 1
        free_s[claim.worker] = end_s
        started.append((claim, start_s, end_s))
    started.sort(key=lambda item: item[1])
    attempts: Counter[str] = Counter()
    found = []
    for claim, start_s, end_s in started:
        attempts[claim.task] += 1
        found.append(
            Run(
                task=claim.task,
                worker=claim.worker,
                op=ops.get(claim.task, ""),
                claimed_s=claim.claimed_s,
                start_s=start_s,
                end_s=end_s,
                known_s=max(end_s, claim.end_s or 0.0),
                outcome=cast(Outcome, claim.outcome),
                attempt=attempts[claim.task],
            )
        )
    return found


def _claims(events: list[Event]) -> tuple[list[_Claim], dict[str, str]]:
    """Every claim with its outcome, in order, and the op of every task that was done."""
    claims: list[_Claim] = []
    newest: dict[tuple[str, str], _Claim] = {}  # by worker and task
    holder: dict[str, _Claim] = {}
    ops: dict[str, str] = {}

    def claim(task: str, worker: str, now: float) -> _Claim:
        made = newest[worker, task] = holder[task] = _Claim(task, worker, now)
        claims.append(made)
        return made

    for index, event in enumerate(events):
        now, worker = event.at_s - events[0].at_s, event.worker
        for task in event.tasks:
            held = newest.get((worker, task))
            if event.kind == "claimed":
                before = holder.get(task)
                if before and before.outcome == "running":
                    # It went back without an event of its own.
                    before.outcome, before.end_s, before.closed = "released", now, index
                claim(task, worker, now)
            elif event.kind == "released" and held and held.outcome == "running":
                held.outcome = "released"
            elif event.kind == "requeued" and held and held.outcome == "running":
                held.outcome, held.end_s, held.closed = "requeued", now, index
            elif event.kind in _FINAL:
                if event.kind == "done":
                    ops[task] = event.fields.get("op", "")
                    if held is None or held.outcome in _FINAL:
                        held = claim(task, worker, now)  # its claim was not seen
                if held and held.outcome not in _FINAL:
                    if held.end_s is None or event.kind != "fenced":
                        held.end_s, held.closed = now, index
                    # else: a fenced run had ended when its task was taken away
                    held.outcome = event.kind
        if event.kind in {"died", "left", "joined"} or event.fields.get("fault") == "kill":
            for one in claims:
                if one.worker == worker and one.outcome == "running" and one.end_s is None:
                    one.end_s = now
    return claims, ops


def story(events: list[Event], task_id: str) -> str:
    """What happened to one task, in words, with the faults of the workers that had it."""
    said: list[str] = []
    involved: set[str] = set()  # workers that have it, or may still think so
    last = ""
    for event in events:
        if event.kind == "fault" and (event.worker in involved or (involved and not event.worker)):
            said.append(
                _at(words.fault(event.worker, event.fields.get("fault", "")), event, events)
            )
        elif task_id in event.tasks:
            said.append(_at(_step(event), event, events))
            last = event.kind
            if event.kind == "claimed":
                involved.add(event.worker)
            elif event.kind != "requeued" or event.fields.get("reason") != "expired":
                involved.discard(event.worker)
    if not said:
        return _("task {task}: no event mentions it; it was never claimed").format(task=task_id)
    if last == "claimed":
        said.append(_("never finished"))
    elif last in {"requeued", "released", "failed"}:
        said.append(_("never claimed again"))
    return _("task {task}: {steps}").format(task=task_id, steps="; ".join(said))


def _at(what: str, event: Event, events: list[Event]) -> str:
    said = _("{what} at {at} s").format(what=what, at=words.instant(event.at_s - events[0].at_s))
    why = words.reason(event.fields.get("reason", ""))
    return f"{said} ({why})" if why else said


def _step(event: Event) -> str:
    said = {
        "claimed": _("claimed by {worker}"),
        "done": _("done"),
        "failed": _("failed"),
        "dead": _("became a dead letter"),
        "requeued": _("requeued"),
        "released": _("given back unstarted by {worker}"),
        "fenced": _("late result of {worker} refused"),
    }
    return said.get(event.kind, event.kind).format(worker=event.worker)
