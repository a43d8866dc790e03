"""Load the Lua transitions: the shared part in front, flags on the first line."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """The text of one transition and the SHA-1 by which Redis knows it."""

    name: str
    text: str
    sha: str


@cache
def load(name: str) -> Script:
    """Read ``lua/<name>.lua``.

    Everything but enqueue may pass when memory is short: work that was accepted must finish.
    """
    flags = "" if name == "enqueue" else " flags=allow-oom"
    parts = [f"#!lua{flags}", _read("common"), _read(name)]
    text = "\n".join(parts)
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
