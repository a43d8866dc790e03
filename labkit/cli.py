"""The command line: ``labkit demo``, ``labkit redis``, ``labkit redis-cli``."""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from labkit import __version__
from labkit.errors import LabkitError, RedisUnavailable
from labkit.i18n import LANGUAGES, _, use_language
from labkit.settings import DEFAULT_REDIS_URL


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="labkit")
@click.option("--lang", type=click.Choice(LANGUAGES), help="English or Spanish (or LABKIT_LANG).")
def cli(lang: str | None) -> None:
    """Learn distributed systems by breaking one."""
    if lang:
        use_language(lang)


@cli.command()
@click.option("--backend", type=click.Choice(["auto", "local", "docker"]), default="auto")
@click.option("--workers", type=click.IntRange(1, 64), default=3, show_default=True)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of photographs.")
@click.option("--tasks", type=click.IntRange(1), help="Default: 600, or one for each image.")
@click.option("--filters", default="sharpen,edges", show_default=True, help="Comma separated.")
@click.option("--fault", type=click.Choice(["kill", "pause", "none"]), default="kill")
@click.option("--seed", type=int, help="Chooses the victim; printed if not given.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False))
def demo(seed: int | None, filters: str, **given: Any) -> None:
    """Run a cluster, kill a worker, show it recover. Exit 0 only if every promise held."""
    from labkit.demo.show import Options, run

    options = Options(
        seed=random.randrange(10_000) if seed is None else seed,
        filters=tuple(name.strip() for name in filters.split(",")),
        redis_url=os.environ.get("REDIS_URL"),
        **given,
    )
    verdict = run(options, Console(highlight=False))
    sys.exit(1 if verdict.broken else 0)


@cli.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
def redis(port: int) -> None:
    """Start the embedded Redis in the foreground and print its URL."""
    from labkit.cluster.redis_server import RedisServer

    with RedisServer(port=port) as server:
        note = _url_file()
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

    from labkit.connection import connect, in_our_words

    url = _find_redis()
    client: Any = connect(url)
    try:
        with in_our_words(url):
            answer = client.connection_pool.get_connection()
            answer.send_command(*command)
            reply = answer.read_response()
    except ResponseError as error:
        raise click.ClickException(str(error)) from None
    for line in _show(reply):
        click.echo(line)


def _find_redis() -> str:
    """REDIS_URL, else the server that ``labkit redis`` runs, else the compose file's."""
    if url := os.environ.get("REDIS_URL"):
        return url
    if _url_file().exists():
        return _url_file().read_text(encoding="utf-8")
    settings = dict(
        line.split("=", 1)
        for line in (
            Path(".env").read_text(encoding="utf-8").splitlines() if Path(".env").exists() else []
        )
        if "=" in line and not line.startswith("#")
    )
    if password := settings.get("REDIS_PASSWORD"):
        return f"redis://:{password}@127.0.0.1:{settings.get('REDIS_PORT', '6379')}/0"
    return DEFAULT_REDIS_URL


def _url_file() -> Path:
    return Path(tempfile.gettempdir()) / f"labkit-{os.getuid()}" / "redis.url"


def _show(reply: Any, *, nested: bool = False) -> list[str]:
    """A reply, much as redis-cli prints it."""
    if isinstance(reply, bytes):
        text = reply.decode(errors="backslashreplace")
        return [f'"{text}"' if nested else text]
    if isinstance(reply, int):
        return [f"(integer) {reply}"]
    if reply is None:
        return ["(nil)"]
    if not reply:
        return ["(empty array)"]
    lines = [_show(part, nested=True) for part in reply]
    return [f"{n}) {line}" for n, part in enumerate(lines, 1) for line in part]


def main() -> None:
    """Entry point: errors in three sentences, no traceback."""
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


if __name__ == "__main__":
    main()
