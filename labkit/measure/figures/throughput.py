"""How fast it went over time, and how many workers there were to do it."""

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes

from labkit.i18n import _
from labkit.measure import words
from labkit.measure.events import Event
from labkit.measure.figures.marks import LEVEL_IN, draw_faults, fault_levels, fault_list, what_broke
from labkit.measure.figures.page import (
    BLUE,
    INK,
    MUTED,
    RULE,
    SKY,
    SMALL_PT,
    TEXT_PT,
    Figure,
    Page,
    halo,
    nothing,
    seconds_axis,
    style,
)
from labkit.measure.lives import live
from labkit.measure.recovery import ENOUGH, recoveries
from labkit.measure.timings import Throughput, done_times, images_per_s, work_span
from labkit.measure.timings import throughput as measured

_RATE_IN, _LIVE_IN, _BETWEEN_IN = 2.9, 0.85, 0.4
Stretch = tuple[float, float, float]


def throughput(events: list[Event], window_s: float | None = None) -> Figure:
    """Draw tasks per second over time, its level between faults, and the live workers."""
    with style():
        rate = measured(events, window_s)
        if not rate.per_s.size:
            return nothing(_("No task was done, so there is no throughput to draw."))
        left_s, right_s = work_span(events)
        levels = stretches(events, rate.window_s)
        rows = 1 + max(fault_levels(events, left_s, right_s).values(), default=-1)
        top_in = 0.15 + rows * LEVEL_IN
        page = Page(
            _title(events, levels),
            _sentence(events, rate),
            top_in + _RATE_IN + _BETWEEN_IN + _LIVE_IN,
        )
        axes = page.axes(top_in, _RATE_IN)
        axes.set_xlim(left_s, right_s)
        _rates(axes, rate, levels)
        draw_faults(axes, events, _RATE_IN)
        below = page.axes(top_in + _RATE_IN + _BETWEEN_IN, _LIVE_IN, share=axes)
        _workers(below, events)
        draw_faults(below, events, _LIVE_IN, text=False)
        axes.tick_params(labelbottom=False)
        seconds_axis(below, _("seconds since the first event"))
        return page.done()


def stretches(events: list[Event], window_s: float) -> list[Stretch]:
    """Start, end and mean rate of each stretch with a constant number of live workers."""
    left_s, right_s = work_span(events)
    instants, _counts = live(events)
    inner = instants[(instants > left_s + window_s) & (instants < right_s - window_s)]
    edges = [left_s]
    for at_s in [*inner.tolist(), right_s]:
        if at_s - edges[-1] >= 1.5 * window_s or at_s == right_s:
            edges.append(at_s)
    done_s = done_times(events)
    return [
        (a, b, float(((done_s > a) & (done_s <= b)).sum()) / (b - a))
        for a, b in pairwise(edges)
        if b > a
    ]


def _title(events: list[Event], levels: list[Stretch]) -> str:
    found, what = recoveries(events), what_broke(events)
    mean = images_per_s(events)
    if not found:
        return _("{mean:.0f} tasks a second on average").format(mean=mean)
    before = [rate for _a, b, rate in levels if b <= found[0].at_s + 1e-6]
    after = [rate for a, _b, rate in levels if a >= found[0].at_s - 1e-6]
    if not before or not after:
        said = _("{what}: {mean:.0f} tasks a second on average all the same")
        return said.format(what=what, mean=mean)
    if len(after) == 1:
        said = _("{what}: from {was:.0f} to {fell:.0f} tasks a second")
    elif after[-1] >= ENOUGH * before[-1]:
        said = _("{what}: from {was:.0f} to {fell:.0f} tasks a second, and back to {end:.0f}")
    else:
        said = _("{what}: from {was:.0f} to {fell:.0f} tasks a second, {end:.0f} in the end")
    return said.format(what=what, was=before[-1], fell=min(after), end=after[-1])


def _sentence(events: list[Event], rate: Throughput) -> str:
    said = _(
        "Tasks done per second over time, in windows of {window}: {mean:.0f} on average, "
        "between {low:.0f} and {high:.0f}"
    ).format(
        window=words.lapse(rate.window_s),
        mean=images_per_s(events),
        low=rate.per_s.min(),
        high=rate.per_s.max(),
    )
    listed = fault_list(events)
    return f"{said}; {listed}." if listed else f"{said}."


def _rates(axes: Axes, rate: Throughput, levels: list[Stretch]) -> None:
    edges = np.append(rate.start_s, rate.start_s[-1] + rate.window_s)
    axes.stairs(rate.per_s, edges, fill=True, color=SKY, alpha=0.45, linewidth=0)
    axes.stairs(rate.per_s, edges, color=BLUE, linewidth=1.4, baseline=None)
    axes.set_ylim(0, rate.per_s.max() * 1.22)
    axes.locator_params(axis="y", nbins=5)
    axes.set_yticks([y for y in axes.get_yticks() if y <= 1.05 * rate.per_s.max()])
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    _name(axes, _("tasks a second"))
    for start_s, end_s, mean in levels:
        axes.plot([start_s, end_s], [mean, mean], color=INK, linewidth=1.6, dashes=(4, 2))
        axes.annotate(
            _("mean {rate:.0f}").format(rate=mean),
            ((start_s + end_s) / 2, mean),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            size=TEXT_PT,
            weight="bold",
            color=INK,
            path_effects=halo(),
        )


def _workers(axes: Axes, events: list[Event]) -> None:
    instants, counts = live(events)
    left_s, right_s = axes.get_xlim()
    ends = np.append(instants[1:], max(right_s, float(instants[-1])) + 1e-9)
    axes.stairs(counts, np.append(instants, ends[-1]), fill=True, color=RULE, linewidth=0)
    axes.stairs(counts, np.append(instants, ends[-1]), color=MUTED, linewidth=1.4, baseline=None)
    axes.set_ylim(0, max(1.0, counts.max()) * 1.15)
    axes.set_yticks([])
    _name(axes, _("live workers"))
    for start_s, end_s, count in zip(instants, ends, counts, strict=True):
        shown = min(end_s, right_s) - max(start_s, left_s)
        if shown > 0.03 * (right_s - left_s):
            x = (min(end_s, right_s) + max(start_s, left_s)) / 2
            y = max(count / 2, 0.18 * axes.get_ylim()[1])
            axes.text(x, y, f"{count:.0f}", ha="center", va="center", size=TEXT_PT, weight="bold")


def _name(axes: Axes, name: str) -> None:
    """What the vertical axis shows, written level, over its top left."""
    axes.annotate(
        name.replace(" ", "\n", 1),
        (0, 1),
        xycoords="axes fraction",
        xytext=(-7, 0),
        textcoords="offset points",
        ha="right",
        va="top",
        size=SMALL_PT,
        color=INK,
    )
