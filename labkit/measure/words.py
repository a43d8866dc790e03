"""How instants, lapses, faults and reasons are said, in the reader's language."""

import re

from labkit.i18n import _


def instant(seconds: float) -> str:
    """A point in time, without needless zeros: "3.2", "0.87"."""
    return f"{round(seconds, 2) + 0.0:g}"


def lapse(seconds: float) -> str:
    """A length of time with its unit: "26 ms", "3.2 s"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s"


def tasks(n: int) -> str:
    """How many tasks, in words that agree with the number."""
    return _("1 task") if n == 1 else _("{n} tasks").format(n=n)


def workers(n: int) -> str:
    """How many workers."""
    return _("1 worker") if n == 1 else _("{n} workers").format(n=n)


def fault(worker: str, kind: str) -> str:
    """A fault as the start of a sentence: "worker-2 was killed"."""
    said = {
        "kill": _("{worker} was killed"),
        "pause": _("{worker} was paused"),
        "resume": _("{worker} was resumed"),
        "disconnect": _("{worker} lost its network"),
        "reconnect": _("{worker} got its network back"),
        "slow": _("{worker} was slowed down"),
        "full speed": _("{worker} was given its full speed back"),
        "restart": _("{worker} was restarted"),
        "redis-restart": _("Redis was restarted"),
    }
    return said.get(kind, "{worker}: " + kind).format(worker=worker)


def reason(text: str) -> str:
    """Why a task was taken from its worker, or died, in the reader's language.

    Reasons are written in English where they arise, in Redis; other text is passed through.
    """
    said = {
        "killed": _("killed"),
        "crashed": _("crashed"),
        "expired": _("its lease ran out"),
        "out of memory": _("out of memory"),
        "not the id of a task that labkit enqueued": _("not the id of a task that labkit enqueued"),
    }
    if text in said:
        return said[text]
    if found := re.fullmatch(r"lost its worker (\d+) times, last time: (.*)", text, re.DOTALL):
        lost = _("lost its worker {n} times, last time: {reason}")
        return lost.format(n=found[1], reason=reason(found[2]))
    if found := re.fullmatch(r"crashed: (\w+)", text):
        return _("crashed: {signal}").format(signal=found[1])
    if found := re.fullmatch(r"exited with status (-?\d+)", text):
        return _("exited with status {n}").format(n=found[1])
    if found := re.fullmatch(r"ran longer than (\S+) s", text):
        return _("ran longer than {s} s").format(s=found[1])
    return text


def state(name: str) -> str:
    """What a worker is, in a word or two."""
    said = {
        "starting": _("starting"),
        "active": _("active"),
        "draining": _("draining"),
        "paused": _("paused"),
        "disconnected": _("no network"),
        "left": _("gone"),
        "died": _("dead"),
    }
    return said.get(name, name)


def listing(parts: list[str]) -> str:
    """Parts of a sentence: "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return _("{most} and {last}").format(most=", ".join(parts[:-1]), last=parts[-1])


def by_number(name: str) -> list[str | int]:
    """Sorting key that puts worker-2 before worker-10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
