"""How the work was shared among the workers."""

from labkit.i18n import _
from labkit.measure import words
from labkit.measure.events import Event
from labkit.measure.figures.marks import fault_list
from labkit.measure.figures.page import (
    BLUE,
    INK,
    MUTED,
    RED,
    SMALL_PT,
    TEXT_PT,
    Figure,
    Page,
    nothing,
    style,
)
from labkit.measure.timings import Share
from labkit.measure.timings import shares as measured

_EVEN = 0.1  # within this part of the fair share, a split is called even


def shares(events: list[Event], *, start_s: float = 0.0, end_s: float = float("inf")) -> Figure:
    """Draw the tasks done by each worker, beside the fair share."""
    with style():
        found = measured(events, start_s=start_s, end_s=end_s)
        if not any(share.done for share in found):
            return nothing(_("No task was done, so there is nothing to share."))
        height_in = len(found) * min(0.6, max(0.3, 6 / len(found)))
        page = Page(_title(found), _sentence(events, found), 0.5 + height_in, axis_in=0.1)
        axes = page.axes(0.4, height_in)
        fair = 1 / len(found)
        lanes = range(len(found))
        axes.barh(lanes, [s.fraction for s in found], height=0.62, color=BLUE)
        axes.axvline(fair, ymax=1.0, color=RED, linewidth=1.4, linestyle=(0, (4, 2)))
        axes.annotate(
            _("fair share {percent:.1f} %").format(percent=100 * fair),
            (fair, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            size=SMALL_PT,
            color=INK,
        )
        for lane, share in enumerate(found):
            axes.annotate(
                f"{share.done}  ·  {100 * share.fraction:.1f} %",
                (share.fraction, lane),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                size=TEXT_PT,
                color=INK,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
        axes.set_xlim(0, max(s.fraction for s in found) * 1.25)
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xticks([])
        axes.set_yticks(lanes, [s.worker for s in found], size=TEXT_PT, color=INK)
        axes.spines["bottom"].set_visible(False)
        axes.spines["left"].set(visible=True, color=MUTED)
        return page.done()


def _title(found: list[Share]) -> str:
    fair = 1 / len(found)
    most, least = max(found, key=lambda s: s.done), min(found, key=lambda s: s.done)
    if len(found) == 1:
        return _("{worker} did it all: {tasks}").format(
            worker=most.worker, tasks=words.tasks(most.done)
        )
    if most.fraction - fair <= _EVEN * fair and fair - least.fraction <= _EVEN * fair:
        return _("The work was shared evenly among {n} workers").format(n=len(found))
    return _("{most} did {high:.0f} % of the tasks, {least} {low:.0f} %").format(
        most=most.worker, high=100 * most.fraction, least=least.worker, low=100 * least.fraction
    )


def _sentence(events: list[Event], found: list[Share]) -> str:
    parts = [f"{s.worker} {s.done} ({100 * s.fraction:.1f} %)" for s in found]
    said = _("Of {tasks}: {parts}; the fair share is {fair:.1f} %").format(
        tasks=words.tasks(sum(s.done for s in found)),
        parts=words.listing(parts),
        fair=100 / len(found),
    )
    listed = fault_list(events)
    return f"{said}; {listed}." if listed else f"{said}."
