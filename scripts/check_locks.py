"""Do requirements/*.txt still answer to pyproject.toml? Needs no network; ``make lock`` mends."""

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"worker": [], "lab": ["lab"], "dev": ["lab", "test"]}
DIRECT = re.compile(r"^    # +(?:via )?labkit \(pyproject\.toml\)$", re.MULTILINE)


def main() -> str | None:
    """Return what is stale, or None."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stale = []
    for lock, extras in LOCKS.items():
        lines = list(project["dependencies"])
        for extra in extras:
            lines += project["optional-dependencies"][extra]
        stale += [f"requirements/{lock}.txt: {why}" for why in differences(lock, lines)]
    return "\n".join([*stale, "Run `make lock`."]) if stale else None


def differences(lock: str, lines: list[str]) -> list[str]:
    """What the lock pins on the project's own behalf, against what the project asks for."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    pins: dict[str, list[str]] = {}
    direct = set()
    for block in re.split(r"\n(?=\S)", text):
        name, version = re.match(r"([\w.-]+)(?:\[.*?\])?==([^\s;]+)", block).groups()
        pins.setdefault(canonicalize_name(name), []).append(version)
        if DIRECT.search(block):
            direct.add(canonicalize_name(name))
    wanted = {canonicalize_name(each.name): each for each in map(Requirement, lines)}
    found = [f"{name} is locked but no longer asked for" for name in sorted(direct - set(wanted))]
    for name, requirement in wanted.items():
        versions = pins.get(name, [])
        if name not in direct or not all(requirement.specifier.contains(v) for v in versions):
            found.append(f"{requirement} is asked for; the lock has {versions or 'nothing'}")
    return found


if __name__ == "__main__":
    sys.exit(main())
