"""The bars of the timeline: how an op looks, and what was in vain."""

from collections import Counter

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from labkit.i18n import _
from labkit.measure import words
from labkit.measure.figures.page import (
    BLUE,
    DARK_RED,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    SMALL_PT,
    halo,
)
from labkit.measure.history import Run
from labkit.measure.lives import Span

Look = tuple[str, float]

FLOOR = 0.36  # where bars stand, below the middle of the lane
# An op is told by its colour and by its height, so that neither is needed alone.
LOOKS: tuple[Look, ...] = (
    (BLUE, 0.56),
    (ORANGE, 0.42),
    (GREEN, 0.31),
    (SKY, 0.23),
    (PURPLE, 0.17),
)
OTHER: Look = (GREY, 0.12)
_PLOT_PX = 1300
_STILL = {"died", "paused"}
ENDED = {"done", "running"}  # other runs were in vain


def looks_of(all_runs: list[Run]) -> dict[str, Look]:
    """Colour and height of each op, the most frequent first."""
    often = Counter(run.op for run in all_runs if run.op).most_common()
    return {op: LOOKS[i] if i < len(LOOKS) else OTHER for i, (op, _n) in enumerate(often)}


def _stopped_s(run: Run, spans: list[Span]) -> float:
    """Where a run in vain stopped: when its worker died or froze, which is noticed later."""
    stops = (s.start_s for s in spans if s.worker == run.worker and s.state in _STILL)
    return min([run.end_s, *(at_s for at_s in stops if run.start_s <= at_s)])


def draw_bars(
    axes: Axes, lane: int, own: list[Run], looks: dict[str, Look], spans: list[Span]
) -> None:
    """One worker's runs: solid where the task was done, hatched where it was in vain."""
    left_s, right_s = axes.get_xlim()
    px_s = (right_s - left_s) / _PLOT_PX
    for look in dict.fromkeys([*looks.values(), OTHER]):
        bars = [
            (run.start_s, max(2 * px_s, run.end_s - run.start_s - _gap_s(run, px_s)))
            for run in own
            if run.outcome in ENDED and looks.get(run.op, OTHER) == look
        ]
        colour, height = look
        axes.broken_barh(
            bars, (lane + FLOOR - height, height), facecolor=colour, linewidth=0, zorder=2
        )
    for run in own:
        if run.outcome not in ENDED:
            stop_s = _stopped_s(run, spans)
            width_s = max(6 * px_s, stop_s - run.start_s)
            axes.add_patch(vain_box(stop_s - width_s, lane + FLOOR - 0.56, width_s, 0.56))
            _held(axes, lane, stop_s, run.end_s)
        elif run.attempt > 1:
            colour, height = looks.get(run.op, OTHER)
            width_s = max(4 * px_s, run.end_s - run.start_s)
            box = Rectangle((run.start_s, lane + FLOOR - height), width_s, height)
            box.set(facecolor=colour, edgecolor=INK, linewidth=1.4, zorder=5)
            axes.add_patch(box)


def _held(axes: Axes, lane: int, stop_s: float, taken_s: float) -> None:
    """A line from where the worker stopped to where its task was taken away."""
    axes.plot([stop_s, taken_s], [lane + FLOOR] * 2, color=RED, linewidth=2.5, zorder=4)
    left_s, right_s = axes.get_xlim()
    if taken_s - stop_s > 0.2 * (right_s - left_s):
        axes.annotate(
            _("held its task for {time} more").format(time=words.lapse(taken_s - stop_s)),
            (taken_s, lane + FLOOR),
            xytext=(-4, 5),
            textcoords="offset points",
            ha="right",
            size=SMALL_PT,
            color=DARK_RED,
            path_effects=halo(),
            zorder=5,
        )


def _gap_s(run: Run, px_s: float) -> float:
    """A hair of white between neighbours, unless it would eat the bar."""
    return min(1.2 * px_s, 0.2 * (run.end_s - run.start_s))


def vain_box(x: float, y: float, width: float, height: float) -> Rectangle:
    """The look of a run in vain."""
    return Rectangle(
        (x, y),
        width,
        height,
        facecolor="white",
        edgecolor=RED,
        hatch="/////",
        linewidth=1.2,
        zorder=4,
    )
