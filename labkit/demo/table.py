"""What the demo prints before and after."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from labkit.demo.verdict import RECOVERY_S, REQUEUE_S, Verdict
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.demo.show import Options


def opening(
    console: Console, backend: str, redis: str, options: "Options", tasks: int, pictures: int
) -> None:
    """What is about to happen."""
    where = _("processes") if backend == "local" else _("containers")
    console.print(
        "[bold]labkit[/]  "
        + _("{n} workers as {where} · {redis} · {tasks} tasks on {pictures} photographs").format(
            n=options.workers, where=where, redis=redis, tasks=tasks, pictures=pictures
        )
    )
    console.print(
        "[dim]"
        + _("filters {filters} · fault {fault} · seed {seed}").format(
            filters=" + ".join(options.filters), fault=_(options.fault), seed=options.seed
        )
        + "[/]\n"
    )


def closing(
    console: Console, verdict: Verdict, sentences: list[str], folder: Path, plots: Path
) -> None:
    """What was promised and what was measured."""
    table = Table(title_justify="left", header_style="bold")
    table.add_column(_("promise"))
    table.add_column(_("expected"))
    table.add_column(_("measured"))
    for row in _rows(verdict):
        table.add_row(*row)
    console.print()
    console.print(table)
    for sentence in sentences:
        console.print(f"[dim]· {sentence}[/]")
    if verdict.broken:
        text = "\n".join(f"✘ {promise}" for promise in verdict.broken)
        console.print(Panel(text, title=_("broken promises"), border_style="red", expand=False))
    else:
        text = "✔ " + _("every promise held")
        console.print(Panel(text, border_style="green", expand=False))
    console.print(_("Plots: {plots}").format(plots=plots))
    console.print(_("Everything else of this run: {folder}").format(folder=folder))


def _rows(v: Verdict) -> list[tuple[str, str, str]]:
    shares = "  ".join(f"{name} {share:.0%}" for name, share in v.share_before.items())
    rows = [
        (_("tasks done"), str(v.tasks), str(v.done)),
        (_("tasks lost"), "0", str(v.lost)),
        (_("effects done twice"), "0", str(v.duplicate_effects)),
        (_("results equal to one process's"), _("all"), str(v.done - v.wrong)),
        (
            _("share of each worker before the fault")
            if v.fault != "none"
            else _("share of each worker"),
            f"~{1 / v.workers:.0%}",
            shares,
        ),
    ]
    if v.fault != "none":
        fault = _(v.fault)
        rows += [
            (
                _("{fault} → its task back in the queue").format(fault=fault),
                f"≤ {REQUEUE_S[v.fault]:g} s",
                _seconds(v.kill_to_requeue_s),
            ),
            (
                _("{fault} → its task done by another").format(fault=fault),
                f"< {RECOVERY_S:g} s",
                _seconds(v.kill_to_redone_s),
            ),
            (
                _("back again → its first task done"),
                f"< {RECOVERY_S:g} s",
                _seconds(v.restart_to_first_task_s),
            ),
            (_("late results refused"), "", str(v.fenced)),
        ]
    rows += [
        (_("images per second"), "", f"{v.images_per_s:.1f}"),
        (_("memory of the largest worker"), "", f"{v.peak_rss_mb:.0f} MB"),
    ]
    return rows


def _seconds(value: float | None) -> str:
    return _("did not occur") if value is None else f"{value:.2f} s"
