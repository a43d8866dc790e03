"""The signs over the bars of the timeline, and the key to both."""

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea, HPacker, TextArea
from matplotlib.patches import FancyArrowPatch, Rectangle

from labkit.i18n import _
from labkit.measure.figures.bars import ENDED, LOOKS, OTHER, Look, vain_box
from labkit.measure.figures.page import DARK_RED, GREY, INK, SMALL_PT, halo
from labkit.measure.history import Run

CROSS, AGAIN = "✕", "↻"
_SIGNS_AT = -0.36  # above the bars, from the middle of the lane
_ARROWS = 6  # more would be a thicket


def draw_signs(axes: Axes, workers: list[str], all_runs: list[Run]) -> None:
    """✕ over what was in vain, ↻ over what was run again, an arrow from one to the other."""
    vain = [run for run in all_runs if run.outcome not in ENDED]
    again = [run for run in all_runs if run.attempt > 1]
    for sign, colour, placed in (
        (CROSS, DARK_RED, [(workers.index(r.worker), r.end_s) for r in vain]),
        (AGAIN, INK, [(workers.index(r.worker), (r.start_s + r.end_s) / 2) for r in again]),
    ):
        for lane, at_s, count in _gathered(placed, axes):
            axes.text(
                at_s,
                lane + _SIGNS_AT,
                f"{sign} {count}" if count > 1 else sign,
                ha="center",
                va="center",
                size=SMALL_PT,
                weight="bold",
                color=colour,
                zorder=8,
                path_effects=halo(),
            )
    if len(again) > _ARROWS:
        return
    for run in again:
        before = next(
            (r for r in vain if r.task == run.task and r.attempt == run.attempt - 1), None
        )
        if before is not None and before.worker != run.worker:
            ends = (
                (before.end_s, workers.index(before.worker) + _SIGNS_AT),
                ((run.start_s + run.end_s) / 2, workers.index(run.worker) + _SIGNS_AT),
            )
            arrow = FancyArrowPatch(
                *ends,
                connectionstyle="arc3,rad=0.25",
                arrowstyle="-|>,head_length=4,head_width=2",
                shrinkA=7,
                shrinkB=8,
                color=INK,
                linewidth=1,
                zorder=7,
            )
            axes.add_patch(arrow)


def _gathered(placed: list[tuple[int, float]], axes: Axes) -> list[tuple[int, float, int]]:
    """Signs that would touch become one with a number: lane, where, how many."""
    left_s, right_s = axes.get_xlim()
    groups: list[tuple[int, float, int]] = []
    for lane, at_s in sorted(placed):
        if groups and groups[-1][0] == lane and at_s - groups[-1][1] < (right_s - left_s) / 40:
            groups[-1] = (lane, groups[-1][1], groups[-1][2] + 1)
        else:
            groups.append((lane, at_s, 1))
    return groups


def draw_key(axes: Axes, looks: dict[str, Look], all_runs: list[Run], up_in: float) -> None:
    """One line above the plot: each op as it is drawn, and the signs that occur."""
    entries: list[Artist] = []

    def entry(text: str, patch: Rectangle | None = None, color: str = INK) -> None:
        if patch is not None:
            swatch = DrawingArea(14, 12)
            swatch.add_artist(patch)
            entries.append(swatch)
        entries.append(TextArea(text, textprops={"size": SMALL_PT, "color": color}))

    for op, (colour, height) in list(looks.items())[: len(LOOKS)]:
        entry(f"{op}   ", Rectangle((0, 0), 14, 12 * height / 0.56, facecolor=colour))
    if len(looks) > len(LOOKS):
        entry(_("other") + "   ", Rectangle((0, 0), 14, 12 * OTHER[1] / 0.56, facecolor=GREY))
    if any(run.outcome not in ENDED for run in all_runs):
        said = _("taken away unfinished")
        entry(f"{CROSS} {said}   ", vain_box(0.5, 0.5, 13, 11), DARK_RED)
    if any(run.attempt > 1 for run in all_runs):
        entry(f"{AGAIN} " + _("run again"))
    box = AnchoredOffsetbox(
        "lower left",
        child=HPacker(children=entries, pad=0, sep=5, align="baseline"),
        pad=0,
        borderpad=0,
        frameon=False,
        bbox_to_anchor=(0, 1 + up_in),
        bbox_transform=axes.transAxes,
    )
    axes.add_artist(box)
