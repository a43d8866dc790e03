"""Who did what, when: a lane for each worker, a bar for each task."""

from collections import Counter

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from labkit.i18n import _
from labkit.measure import words
from labkit.measure.events import Event
from labkit.measure.figures.bars import FLOOR, draw_bars, looks_of
from labkit.measure.figures.marks import (
    LEVEL_IN,
    bill,
    draw_faults,
    fault_levels,
    fault_list,
    room_s,
    what_broke,
)
from labkit.measure.figures.page import (
    INK,
    MUTED,
    RULE,
    SHADE,
    SMALL_PT,
    TEXT_PT,
    Figure,
    Page,
    halo,
    nothing,
    seconds_axis,
    style,
)
from labkit.measure.figures.signs import draw_key, draw_signs
from labkit.measure.history import Run, runs
from labkit.measure.lives import LIVE, Span, lives
from labkit.measure.recovery import recoveries, totals


def timeline(events: list[Event]) -> Figure:
    """Draw what every worker did, its faults, and what was run again where."""
    with style():
        all_runs, spans = runs(events), lives(events)
        if not all_runs:
            return nothing(_("No task was claimed, so there is no timeline to draw."))
        workers = sorted(
            {run.worker for run in all_runs} | {s.worker for s in spans}, key=words.by_number
        )
        left_s = min(run.start_s for run in all_runs)
        right_s = max(run.end_s for run in all_runs)
        right_s = max(right_s, left_s + 0.01)
        pad_s = (right_s - left_s) * 0.012
        left_s, right_s = left_s - pad_s, right_s + pad_s
        rows = 1 + max(fault_levels(events, left_s, right_s).values(), default=-1)
        top_in = 0.36 + rows * LEVEL_IN
        height_in = len(workers) * min(0.95, max(0.4, 5.5 / len(workers)))
        page = Page(_title(events, all_runs), _sentence(events, all_runs), top_in + height_in)
        axes = page.axes(top_in, height_in)
        axes.set_xlim(left_s, right_s)
        axes.set_ylim(len(workers) - 0.5, -0.6)
        _lanes(axes, workers, all_runs, tight=height_in < 0.5 * len(workers))
        _shades(axes, workers, [s for s in spans if s.state not in LIVE])
        looks = looks_of(all_runs)
        for lane, worker in enumerate(workers):
            own = [run for run in all_runs if run.worker == worker]
            draw_bars(axes, lane, own, looks, spans)
        draw_signs(axes, workers, all_runs)
        draw_faults(axes, events, height_in)
        draw_key(axes, looks, all_runs, (0.16 + rows * LEVEL_IN) / height_in)
        seconds_axis(axes, _("seconds since the first event"))
        return page.done()


def _title(events: list[Event], all_runs: list[Run]) -> str:
    cost = totals(events)
    if not recoveries(events):
        return _("{workers} did {tasks} in {time}").format(
            workers=words.workers(len({run.worker for run in all_runs})),
            tasks=words.tasks(len({run.task for run in all_runs if run.outcome == "done"})),
            time=words.lapse(max(r.end_s for r in all_runs) - min(r.claimed_s for r in all_runs)),
        )
    what = what_broke(events)
    if cost.lost:
        said = _("{what}: {unfinished} not done yet")
    elif cost.duplicate_effects:
        said = _("{what}: {twice} done twice")
    elif cost.redeliveries:
        said = _("{what}: what was left undone was run again, and no task was lost")
    else:
        said = _("{what}: no task was lost")
    return said.format(
        what=what,
        unfinished=words.tasks(len(cost.lost)),
        twice=words.tasks(cost.duplicate_effects),
    )


def _sentence(events: list[Event], all_runs: list[Run]) -> str:
    said = _("Timeline of {workers} and {tasks}: {bill}").format(
        workers=words.workers(len({run.worker for run in all_runs})),
        tasks=words.tasks(len({run.task for run in all_runs})),
        bill=bill(events),
    )
    listed = fault_list(events)
    return f"{said}; {listed}." if listed else f"{said}."


def _lanes(axes: Axes, workers: list[str], all_runs: list[Run], *, tight: bool) -> None:
    done = Counter(run.worker for run in all_runs if run.outcome == "done")
    axes.set_yticks([])
    for lane, worker in enumerate(workers):
        axes.axhline(lane + FLOOR, color=RULE, linewidth=0.8, zorder=0)
        for text, size, color, up in (
            (worker, TEXT_PT, INK, -4 if tight else 3),
            ("" if tight else _("{n} done").format(n=done[worker]), SMALL_PT, MUTED, -12),
        ):
            axes.annotate(
                text,
                (0, lane),
                xycoords=axes.get_yaxis_transform(),
                xytext=(-10, up),
                textcoords="offset points",
                ha="right",
                size=size,
                color=color,
            )


def _shades(axes: Axes, workers: list[str], away: list[Span]) -> None:
    """Grey, with the reason in words, where a worker was not live."""
    left_s, right_s = axes.get_xlim()
    for span in away:
        start_s, end_s = max(span.start_s, left_s), min(span.end_s, right_s)
        if end_s - start_s < 0.01 * (right_s - left_s):
            continue
        lane = workers.index(span.worker)
        box = Rectangle(
            (start_s, lane - 0.42),
            end_s - start_s,
            FLOOR + 0.42,
            facecolor=SHADE,
            edgecolor=RULE,
            hatch="" if span.state == "starting" else "..",
            linewidth=0,
            zorder=0.5,
        )
        axes.add_patch(box)
        state = words.state(span.state)
        long = _("{state} for {time}").format(
            state=state, time=words.lapse(span.end_s - span.start_s)
        )
        fits = (text for text in (long, state) if room_s(text, left_s, right_s) < end_s - start_s)
        if said := next(fits, ""):
            axes.text(
                (start_s + end_s) / 2,
                lane - 0.1,
                said,
                ha="center",
                va="center",
                size=SMALL_PT,
                color=INK,
                path_effects=halo(),
                zorder=5,
            )
