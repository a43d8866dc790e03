"""The command line: ``labkit demo``, ``process``, ``redis``, ``redis-cli``."""

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from labkit import __version__
from labkit.cli.redis_cli import find_redis, send, url_file
from labkit.cli.spoken import Group, Option, option, speak
from labkit.connection import connect
from labkit.errors import LabkitError, RedisUnavailable
from labkit.i18n import LANGUAGES, _
from labkit.settings import Settings


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="labkit", cls=Option)
@option(
    "--lang",
    type=click.Choice(LANGUAGES),
    help="English or Spanish (or LABKIT_LANG).",
    is_eager=True,
    expose_value=False,
    callback=speak,
)
def cli() -> None:
    """Learn distributed systems by breaking one."""


@cli.command()
@option("--backend", type=click.Choice(["auto", "local", "docker"]), default="auto")
@option("--workers", type=click.IntRange(1, 64), default=3, show_default=True)
@option("--images", type=click.Path(path_type=Path), help="Folder of photographs.")
@option("--tasks", type=click.IntRange(1), help="Default: 600, or one for each image.")
@option("--filters", default="sharpen,edges", show_default=True, help="Comma separated.")
@option("--fault", type=click.Choice(["kill", "pause", "none"]), default="kill")
@option("--seed", type=int, help="Chooses the victim; printed if not given.")
@option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
@option("--plots", type=click.Path(path_type=Path, file_okay=False))
def demo(seed: int | None, filters: str, **given: Any) -> None:
    """Run a cluster, kill a worker, show it recover. Exit 0 only if every promise held."""
    from labkit.demo.show import Options, run

    options = Options(
        seed=random.randrange(10_000) if seed is None else seed,
        filters=_split(filters),
        redis_url=os.environ.get("REDIS_URL"),
        **given,
    )
    verdict = run(options, Console(highlight=False))
    sys.exit(1 if verdict.broken else 0)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@option("--filters", default="sharpen,edges", show_default=True, help="Comma separated.")
@option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("results"))
def process(folder: Path, filters: str, out: Path) -> None:
    """Send a folder of images to the cluster that runs, and save what comes back."""
    from labkit.batch import process as send_folder
    from labkit.queue import Registry, TaskQueue

    client = connect(find_redis())
    if not Registry(client).alive():
        click.echo(_("No worker is there yet: the images will wait for one."), err=True)
    failed = 0
    out.mkdir(parents=True, exist_ok=True)
    names = _split(filters)
    for result in send_folder(TaskQueue(client, Settings.from_env()), folder, names, progress=True):
        if result.ok:
            (out / f"{Path(result.name).stem}.jpg").write_bytes(result.data)
        else:
            failed += 1
            click.echo(f"✘ {result.name}: {result.error}", err=True)
    click.echo(_("Results: {folder}").format(folder=out))
    sys.exit(1 if failed else 0)


@cli.command()
@option("--port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
def redis(port: int) -> None:
    """Start the embedded Redis in the foreground and print its URL."""
    from labkit.cluster.own_redis import own_redis

    with own_redis(port=port) as server:
        note = url_file()
        note.parent.mkdir(mode=0o700, exist_ok=True)
        note.touch(mode=0o600)
        note.write_text(server.url, encoding="utf-8")
        click.echo(f"REDIS_URL={server.url}")
        click.echo(
            _("{version} answers. Ctrl-C stops it.").format(version=server.version()), err=True
        )
        signal.signal(signal.SIGTERM, lambda *_args: sys.exit(0))
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            click.echo("", err=True)
        finally:
            note.unlink(missing_ok=True)


@cli.command(
    "redis-cli", context_settings={"ignore_unknown_options": True, "help_option_names": []}
)
@click.argument("command", nargs=-1, required=True)
def redis_cli(command: tuple[str, ...]) -> None:
    """Send one command to Redis, as redis-cli does: labkit redis-cli LLEN image_tasks."""
    from redis.exceptions import ResponseError

    try:
        lines = send(command)
    except ResponseError as error:
        raise click.ClickException(str(error)) from None
    for line in lines:
        click.echo(line)


def _split(filters: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in filters.split(","))


def main() -> None:
    """Entry point: errors in three sentences, no traceback."""
    speak()
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except LabkitError as error:
        Console(stderr=True, highlight=False).print(
            f"[bold red]{type(error).__name__}[/]: ", error, sep=""
        )
        sys.exit(2 if not isinstance(error, RedisUnavailable) else 3)
