"""How long tasks took: what part of them took no longer than so much."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from labkit.i18n import _
from labkit.measure import words
from labkit.measure.events import Event
from labkit.measure.figures.page import (
    BLUE,
    INK,
    RULE,
    SMALL_PT,
    TEXT_PT,
    Figure,
    Page,
    halo,
    nothing,
    style,
)
from labkit.measure.lives import Floats
from labkit.measure.timings import Percentiles, latencies, percentiles

_HEIGHT_IN = 3.6
_WIDE = 20  # longest to median beyond which the axis is logarithmic


def latency(events: list[Event], since: Literal["claimed", "enqueued"] = "claimed") -> Figure:
    """Draw the distribution of the time from claim (or enqueue) to done."""
    with style():
        took_s = np.sort(latencies(events, since))
        if not took_s.size:
            return nothing(_("No task was done, so there is no latency to draw."))
        marks = percentiles(took_s)
        page = Page(_title(marks, since), _sentence(marks, since), 0.15 + _HEIGHT_IN)
        axes = page.axes(0.15, _HEIGHT_IN)
        _curve(axes, took_s)
        _labels(axes, marks)
        name = _("from claim to done") if since == "claimed" else _("from enqueue to done")
        axes.set_xlabel(name, size=SMALL_PT, loc="left", labelpad=6)
        return page.done()


def _title(marks: Percentiles, since: str) -> str:
    if since == "claimed":
        said = _("Half of the tasks took {p50} or less; 1 in 100 took more than {p99}")
    else:
        said = _("Half were done within {p50} of being enqueued; 1 in 100 after more than {p99}")
    return said.format(p50=words.lapse(marks.p50_s), p99=words.lapse(marks.p99_s))


def _sentence(marks: Percentiles, since: str) -> str:
    if since == "claimed":
        said = _("Cumulative share of {tasks} by the time from claim to done: {marks}.")
    else:
        said = _("Cumulative share of {tasks} by the time from enqueue to done: {marks}.")
    parts = [f"p{p} {words.lapse(s)}" for p, s in _pairs(marks)]
    return said.format(tasks=words.tasks(marks.count), marks=words.listing(parts))


def _pairs(marks: Percentiles) -> list[tuple[int, float]]:
    return [(50, marks.p50_s), (90, marks.p90_s), (99, marks.p99_s)]


def _curve(axes: Axes, took_s: Floats) -> None:
    part = np.arange(1, took_s.size + 1) / took_s.size
    longest = max(float(took_s[-1]), 0.001)
    middle = max(float(np.median(took_s)), 0.0005)
    if longest > _WIDE * middle:
        axes.set_xscale("log")
        axes.set_xlim(max(float(took_s[0]), 0.0005) / 1.5, longest * 1.6)
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(0, longest * 1.18)
        axes.locator_params(axis="x", nbins=7)
    xs = np.concatenate([[axes.get_xlim()[0]], took_s, [axes.get_xlim()[1]]])
    axes.step(xs, np.concatenate([[0], part, [1]]), where="post", color=BLUE, linewidth=2)
    axes.set_ylim(0, 1.1)
    axes.set_yticks([0.25, 0.5, 0.75, 1], ["25 %", "50 %", "75 %", "100 %"])
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _pos: words.lapse(s) if s else "0"))


def _labels(axes: Axes, marks: Percentiles) -> None:
    for (p, at_s), marker in zip(_pairs(marks), "osD", strict=True):
        axes.plot([at_s, at_s], [0, p / 100], color=INK, linewidth=0.9, dashes=(2, 2))
        axes.plot([at_s], [p / 100], marker, color=INK, markersize=7, markeredgecolor="white")
        axes.annotate(
            f"p{p}  {words.lapse(at_s)}",
            (at_s, p / 100),
            xytext=(-6, 5),
            textcoords="offset points",
            ha="right",
            size=TEXT_PT,
            weight="bold",
            color=INK,
            path_effects=halo(),
        )
