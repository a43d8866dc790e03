"""``labkit redis-cli``: the inspection commands of the lesson, without redis-cli."""

import os
import tempfile
from pathlib import Path
from typing import Any

from labkit.connection import connect, in_our_words
from labkit.settings import DEFAULT_REDIS_URL


def find_redis() -> str:
    """REDIS_URL, else the server that ``labkit redis`` runs, else the compose file's."""
    if url := os.environ.get("REDIS_URL"):
        return url
    if url_file().exists():
        return url_file().read_text(encoding="utf-8")
    env = Path(".env")  # what `make images` wrote for the compose file
    lines = env.read_text(encoding="utf-8").splitlines() if env.exists() else []
    settings = dict(line.split("=", 1) for line in lines if "=" in line)
    if password := settings.get("REDIS_PASSWORD"):
        return f"redis://:{password}@127.0.0.1:{settings.get('REDIS_PORT', '6379')}/0"
    return DEFAULT_REDIS_URL


def url_file() -> Path:
    """Where ``labkit redis`` notes the URL of its server, for this user only."""
    return Path(tempfile.gettempdir()) / f"labkit-{os.getuid()}" / "redis.url"


def send(command: tuple[str, ...]) -> list[str]:
    """Send one command; return the lines to print.

    Raises:
        redis.ResponseError: the server does not know it, or refuses.
        RedisUnavailable, WrongPassword: as they say.
    """
    url = find_redis()
    client: Any = connect(url)
    with in_our_words(url):
        connection = client.connection_pool.get_connection()
        connection.send_command(*command)
        return show(connection.read_response())


def show(reply: Any, *, nested: bool = False) -> list[str]:
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
    lines = []
    for n, part in enumerate(reply, 1):
        first, *more = show(part, nested=True)
        number = f"{n}) "
        lines += [number + first, *(" " * len(number) + line for line in more)]
    return lines
