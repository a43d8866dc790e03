"""How long each step of the recovery took, fault by fault, against the limit."""

from matplotlib.axes import Axes

from labkit.i18n import _
from labkit.measure import words
from labkit.measure.events import Event
from labkit.measure.figures.page import (
    DARK_RED,
    INK,
    MUTED,
    RULE,
    SMALL_PT,
    TEXT_PT,
    Figure,
    Page,
    nothing,
    seconds_axis,
    style,
)
from labkit.measure.figures.phases import phases, sentence, title
from labkit.measure.recovery import LIMIT_S, Recovery, recoveries, totals

_STEPS_IN, _HEAD_IN, _BETWEEN_IN = 2.6, 0.4, 0.4
_LEFT_IN, _MOST = 2.3, 3


def scorecard(events: list[Event]) -> Figure:
    """Draw the recovery from each fault (the first three) as steps in time."""
    with style():
        found = recoveries(events)
        if not found:
            return nothing(_("Nothing was broken, so there is no recovery to draw."))
        shown = found[:_MOST]
        each_in = _HEAD_IN + _STEPS_IN
        body_in = len(shown) * each_in + (len(shown) - 1) * _BETWEEN_IN
        page = Page(title(found), sentence(events, shown), body_in, axis_in=0.95)
        for i, recovery in enumerate(shown):
            top_in = i * (each_in + _BETWEEN_IN) + _HEAD_IN
            axes = page.axes(top_in, _STEPS_IN, left_in=_LEFT_IN)
            _steps(axes, recovery)
        seconds_axis(axes, _("seconds since the fault"))
        _totals(axes, events)
        return page.done()


def _steps(axes: Axes, recovery: Recovery) -> None:
    """A staircase: each bar from the phase before to this one."""
    steps = phases(recovery)
    right_s = max((p.at_s for p in steps if p.at_s), default=1.0) * 1.22
    axes.set_xlim(0, right_s)
    axes.set_ylim(len(steps) - 0.5, -0.5)
    for row, phase in enumerate(steps):
        axes.axhline(row + 0.5, color=RULE, linewidth=0.6, zorder=0)
        at_s = phase.at_s or 0.0
        axes.barh(
            row,
            abs(at_s - phase.since_s) if phase.at_s is not None else 0,
            left=min(at_s, phase.since_s),
            height=0.6,
            color=phase.colour,
            hatch=phase.hatch,
            edgecolor="white",
            linewidth=0,
        )
        if at_s:
            axes.plot([at_s, at_s], [row - 0.34, row + 0.34], color=INK, linewidth=1.8)
        axes.annotate(
            phase.said,
            (at_s, row),
            xytext=(7, 0),
            textcoords="offset points",
            va="center_baseline",
            size=TEXT_PT,
            color=MUTED if phase.at_s is None else INK,
        )
    axes.set_yticks(range(len(steps)), [p.name for p in steps], size=TEXT_PT, color=INK)
    axes.axvline(0, color=DARK_RED, linewidth=1.4)
    said = _("{what}, {at} s").format(
        what=words.fault(recovery.worker, recovery.fault), at=words.instant(recovery.at_s)
    )
    _above(axes, 0, said, "left")
    limit = _("limit {limit:.0f} s").format(limit=LIMIT_S)
    if right_s > LIMIT_S:
        axes.axvline(LIMIT_S, color=DARK_RED, linewidth=1.4, linestyle=(0, (4, 2)))
        _above(axes, LIMIT_S, limit, "center")
    else:
        _above(axes, right_s, f"{limit} →", "right")


def _above(axes: Axes, at_s: float, text: str, align: str) -> None:
    axes.annotate(
        text,
        (at_s, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 6),
        textcoords="offset points",
        ha=align,
        size=SMALL_PT,
        color=DARK_RED,
    )


def _totals(axes: Axes, events: list[Event]) -> None:
    """The bill, on a line of its own below the axis's name."""
    cost = totals(events)
    parts = [
        _("run again {n}").format(n=cost.redeliveries),
        _("late results refused {n}").format(n=cost.fenced),
        _("done twice {n}").format(n=cost.duplicate_effects),
        _("unfinished {n}").format(n=len(cost.lost)),
        _("dead letters {n}").format(n=cost.dead),
    ]
    axes.annotate(
        "   ·   ".join(parts),
        (0, 0),
        xycoords="axes fraction",
        xytext=(0, -50),
        textcoords="offset points",
        va="top",
        size=SMALL_PT,
        color=INK,
    )
