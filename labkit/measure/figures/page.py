"""What all figures share: type, colour, the page they are set on, and how they are saved.

Colours are Okabe and Ito's, which hold for colour-blind readers; nothing is said by colour alone.
A page is a title that states the finding, the plot, and a sentence that describes it, which is
also the text for those who cannot see the plot.
"""

import base64
import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.textpath import TextToPath

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, GREY = "#56B4E9", "#CC79A7", "#9AA0A6"
DARK_RED, DARK_GREEN = "#A34700", "#00664B"  # for text, which needs more contrast
INK, MUTED, RULE, SHADE = "#1F2328", "#57606A", "#D8DEE4", "#EEF0F2"

WIDTH_IN, DPI = 10.0, 160
LEFT_IN, RIGHT_IN = 1.25, 0.45
PLOT_IN = WIDTH_IN - LEFT_IN - RIGHT_IN
TITLE_PT, TEXT_PT, SMALL_PT = 16.0, 11.0, 10.0


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure and the sentence that says what it shows.

    Attributes:
        figure: matplotlib's, to be changed or saved as one likes.
        sentence: its description, printed beneath it, and its alt text.
    """

    figure: Canvas
    sentence: str

    def save(self, path: str | Path) -> None:
        """Write a PNG that carries the sentence as its Description."""
        Path(path).write_bytes(self._repr_png_())

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        with style():
            self.figure.savefig(
                file, format="png", dpi=DPI, metadata={"Description": self.sentence}
            )
        return file.getvalue()

    def _repr_html_(self) -> str:
        data = base64.b64encode(self._repr_png_()).decode()
        alt = html.escape(self.sentence, quote=True)
        return (
            f'<img src="data:image/png;base64,{data}" alt="{alt}" '
            f'style="width:100%;max-width:{WIDTH_IN * 100:.0f}px">'
        )


@contextmanager
def style() -> Iterator[None]:
    """Our type and lines, whatever the reader's own matplotlib settings; restored afterwards."""
    ours: dict[str, Any] = {
        "font.family": _family(),
        "font.size": TEXT_PT,
        "text.color": INK,
        "text.parse_math": False,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": SMALL_PT,
        "ytick.labelsize": SMALL_PT,
        "hatch.linewidth": 0.9,
    }
    with matplotlib.style.context(["default", ours]):
        yield


@cache
def _family() -> list[str]:
    """The best of what is installed; DejaVu comes with matplotlib and has every sign we use."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in ("Arial", "Liberation Sans") if name in installed] + ["DejaVu Sans"]


def _wrap(text: str, size_pt: float, weight: str, part: float = 1.0) -> list[str]:
    """Lines that fit a part of the page's width; a number is never parted from its unit."""
    font = font_manager.FontProperties(size=size_pt, weight=weight)
    room_pt = (WIDTH_IN - 0.8) * 72 * part
    lines: list[str] = []
    for word in re.sub(r"(?<=\d) (?=ms\b|s\b|%)", "\N{NO-BREAK SPACE}", text).split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        width_pt, _height, _descent = TextToPath().get_text_width_height_descent(
            longer, font, ismath=False
        )
        lines[-1:] = [longer] if width_pt <= room_pt or not lines else [lines[-1], word]
    return lines


class Page:
    """A white page with title and caption, and room of a given height between them."""

    def __init__(self, title: str, sentence: str, body_in: float, axis_in: float = 0.62) -> None:
        full = _wrap(title, TITLE_PT, "bold")
        tries = (_wrap(title, TITLE_PT, "bold", part) for part in (0.6, 0.7, 0.8, 0.9))
        titles = next((lines for lines in tries if len(lines) == len(full)), full)  # evenly
        captions = _wrap(sentence, SMALL_PT, "normal")
        self._head_in = 0.4 + 0.3 * len(titles)
        foot_in = axis_in + 0.3 + 0.2 * len(captions)
        self.height_in = self._head_in + body_in + foot_in
        self.sentence = sentence
        self.canvas = Canvas(figsize=(WIDTH_IN, self.height_in), facecolor="white")
        self._write(titles, 0.28, TITLE_PT, weight="bold")
        below_in = self._head_in + body_in + axis_in + 0.08
        self._write(captions, below_in, SMALL_PT, color=MUTED, linespacing=1.35)

    def _write(self, lines: list[str], top_in: float, size_pt: float, **kw: Any) -> None:
        x, y = 0.4 / WIDTH_IN, 1 - top_in / self.height_in
        self.canvas.text(x, y, "\n".join(lines), size=size_pt, va="top", **kw)

    def axes(
        self, top_in: float, height_in: float, left_in: float = LEFT_IN, share: Axes | None = None
    ) -> Axes:
        """Axes at a distance from the top of the body, with a rule below and nothing else."""
        axes = self.canvas.add_axes(
            (
                left_in / WIDTH_IN,
                1 - (self._head_in + top_in + height_in) / self.height_in,
                (WIDTH_IN - left_in - RIGHT_IN) / WIDTH_IN,
                height_in / self.height_in,
            ),
            sharex=share,
        )
        axes.tick_params(length=0, pad=6)
        return axes

    def done(self) -> Figure:
        """The finished figure."""
        return Figure(self.canvas, self.sentence)


def nothing(sentence: str) -> Figure:
    """A page that says why there is no plot."""
    return Figure(Page(sentence, "", 0, axis_in=0).canvas, sentence)


def halo() -> list[AbstractPathEffect]:
    """A white rim, so that text can be read on whatever is beneath it."""
    return [withStroke(linewidth=3, foreground="white")]


def seconds_axis(axes: Axes, label: str) -> None:
    """Name the horizontal axis and keep its numbers few."""
    axes.locator_params(axis="x", nbins=8)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.set_xlabel(label, size=SMALL_PT, loc="left", labelpad=6)
