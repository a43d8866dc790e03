"""Faults as lines with their words on top, and the sentences that several figures share."""

from matplotlib.axes import Axes

from labkit.i18n import _
from labkit.measure import words
from labkit.measure.events import Event
from labkit.measure.figures.page import DARK_GREEN, DARK_RED, PLOT_IN, SMALL_PT, halo
from labkit.measure.recovery import faults, recoveries, totals

LEVEL_IN = 0.24  # between two rows of labels
_CHAR_IN = 0.078  # how wide a letter of a label is, about


def fault_levels(events: list[Event], left_s: float, right_s: float) -> dict[int, int]:
    """On which row each fault's label goes, by its index, so that no label or line is in its way.

    A label stands to the right of its line, so it must be above those that follow closely; near
    the right edge it stands to the left, and above those that come before.
    """
    labels = {}
    for i, event in enumerate(events):
        if event.kind == "fault":
            at_s = event.at_s - events[0].at_s
            width_s = room_s(_label(event, at_s), left_s, right_s)
            leftward = _leftward(at_s, left_s, right_s)
            labels[i] = (at_s - width_s, at_s) if leftward else (at_s, at_s + width_s)
    rightward = [i for i in labels if labels[i][0] == events[i].at_s - events[0].at_s]
    placed: dict[int, int] = {}
    for i in [*reversed(rightward), *(i for i in labels if i not in rightward)]:
        start_s, end_s = labels[i]
        below = (
            row for j, row in placed.items() if labels[j][0] < end_s and start_s < labels[j][1]
        )
        placed[i] = 1 + max(below, default=-1)
    return placed


def room_s(text: str, left_s: float, right_s: float) -> float:
    """About how much of the time axis a label takes."""
    return (len(text) * _CHAR_IN + 0.15) * (right_s - left_s) / PLOT_IN


def draw_faults(axes: Axes, events: list[Event], height_in: float, *, text: bool = True) -> None:
    """A line for each fault: solid where something broke, dashed where it was mended."""
    left_s, right_s = axes.get_xlim()
    broken = set(faults(events))
    for i, row in fault_levels(events, left_s, right_s).items():
        at_s = events[i].at_s - events[0].at_s
        top = 1 + (0.08 + row * LEVEL_IN) / height_in
        colour, dash = (DARK_RED, "-") if i in broken else (DARK_GREEN, (0, (4, 2)))
        axes.plot(
            [at_s, at_s],
            [0, top + 0.15 / height_in if text else 1],
            transform=axes.get_xaxis_transform(),
            color=colour,
            linestyle=dash,
            linewidth=1.2,
            clip_on=False,
            zorder=6,
        )
        if text:
            leftward = _leftward(at_s, left_s, right_s)
            axes.annotate(
                _label(events[i], at_s),
                (at_s, top),
                xycoords=axes.get_xaxis_transform(),
                xytext=(-8 if leftward else 5, 0),
                textcoords="offset points",
                ha="right" if leftward else "left",
                size=SMALL_PT,
                color=colour,
                annotation_clip=False,
                path_effects=halo(),
                zorder=7,
            )


def _leftward(at_s: float, left_s: float, right_s: float) -> bool:
    return at_s > left_s + 0.7 * (right_s - left_s)


def _label(event: Event, at_s: float) -> str:
    said = words.fault(event.worker, event.fields.get("fault", ""))
    return _("{what}, {at} s").format(what=said, at=words.instant(at_s))


def fault_list(events: list[Event]) -> str:
    """Every fault in one phrase: "worker-2 was killed at 0.87 s and …"."""
    said = []
    for event in events:
        if event.kind == "fault":
            what = words.fault(event.worker, event.fields.get("fault", ""))
            at = words.instant(event.at_s - events[0].at_s)
            said.append(_("{what} at {at} s").format(what=what, at=at))
    if len(said) > 4:
        said = [*said[:3], _("{n} faults more").format(n=len(said) - 3)]
    return words.listing(said)


def what_broke(events: list[Event]) -> str:
    """The faults as the subject of a title, or ""."""
    found = recoveries(events)
    if len(found) > 2:
        return _("{n} faults").format(n=len(found))
    return words.listing(list(dict.fromkeys(words.fault(r.worker, r.fault) for r in found)))


def bill(events: list[Event]) -> str:
    """What it cost, in one phrase: "1 run again, 0 lost, 0 done twice"."""
    cost = totals(events)
    return _("{again} run again, {lost} unfinished, {twice} done twice").format(
        again=cost.redeliveries, lost=len(cost.lost), twice=cost.duplicate_effects
    )
