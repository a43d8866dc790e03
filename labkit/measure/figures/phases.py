"""The phases of a recovery in words: for the rows of the scorecard, its title and its sentence."""

from dataclasses import dataclass

from labkit.i18n import _
from labkit.measure import words
from labkit.measure.events import Event
from labkit.measure.figures.marks import bill
from labkit.measure.figures.page import BLUE, GREEN, ORANGE
from labkit.measure.recovery import LIMIT_S, Recovery


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of a recovery, from ``since_s`` to ``at_s`` after the fault.

    Attributes:
        at_s: None if the step was not seen.
        said: ``at_s`` in words.
        colour: with ``hatch``, tells what is followed: the work, the throughput or the worker.
    """

    name: str
    since_s: float
    at_s: float | None
    said: str
    colour: str
    hatch: str


def phases(recovery: Recovery) -> list[Phase]:
    """The seven steps, those of the work first."""
    work = [
        (_("noticed"), recovery.noticed_s),
        (_("task back in the queue"), recovery.requeued_s),
        (_("claimed again"), recovery.rerun_s),
        (_("done again"), recovery.redone_s),
    ]
    rate = [(_("throughput restored"), recovery.restored_s)]
    worker = [
        (_("worker back"), recovery.back_s),
        (_("its first task done"), recovery.first_done_s),
    ]
    found = []
    for steps, colour, hatch in ((work, BLUE, ""), (rate, GREEN, "////"), (worker, ORANGE, "....")):
        since_s = 0.0
        for name, at_s in steps:
            if at_s is None:
                said = _("not seen")
            elif steps is rate and at_s == 0:
                name, said = _("throughput"), _("never fell")
            else:
                said = words.lapse(at_s)
            found.append(Phase(name, since_s, at_s, said, colour, hatch))
            since_s = since_s if at_s is None else at_s
    return found


def title(found: list[Recovery]) -> str:
    """The finding, of the fault that fared worst."""
    worst = max(found, key=lambda r: (not r.settled, r.last_s is None, r.last_s or 0))
    what = words.fault(worst.worker, worst.fault)
    if worst.last_s is None:
        said = _("{what}: nothing shows yet that the system recovered")
    elif not worst.settled:
        said = _("{what}: what it left has not been done again")
    elif worst.last_s > LIMIT_S:
        said = _("{what}: recovered only after {time}, over the limit of {limit:.0f} s")
    elif worst.back_s is None and worst.worker and worst.fault != "slow":
        said = _("{what}: the others recovered in {time}, within {limit:.0f} s; it is not back")
    else:
        said = _("{what}: recovered in {time}, within the limit of {limit:.0f} s")
    return said.format(what=what, time=words.lapse(worst.last_s or 0), limit=LIMIT_S)


def sentence(events: list[Event], found: list[Recovery]) -> str:
    """Every step that was seen of every fault shown, and the bill."""
    said = []
    for recovery in found:
        steps = [f"{p.name} {p.said}" for p in phases(recovery) if p.at_s is not None]
        said.append(
            _("{what} at {at} s: {steps}").format(
                what=words.fault(recovery.worker, recovery.fault),
                at=words.instant(recovery.at_s),
                steps=", ".join(steps) or _("nothing followed"),
            )
        )
    return _("{faults}; in all {bill}.").format(faults="; ".join(said), bill=bill(events))
