"""Who owns what runs in Docker, so that leftovers can be told from the living.

An owner is written on every container, network and volume as ``pid:born@host``. The birth is there
because process numbers are used again. When in doubt an owner lives: a leftover costs little, a
cluster that vanishes under somebody's hands costs a lesson.
"""

import os
import socket
import sys
from pathlib import Path

import psutil


def me() -> str:
    """This process, as it is written on labels."""
    return f"{os.getpid()}:{_born(os.getpid())}@{socket.gethostname()}"


def is_dead(owner: str) -> bool:
    """Whether an owner is known to be gone. Nobody knows about other machines."""
    process, _at, host = owner.rpartition("@")
    pid, _colon, born = process.partition(":")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    if not psutil.pid_exists(int(pid)):
        return True
    born_now = _born(int(pid))
    return born_now not in ("", born)


def _born(pid: int) -> str:
    """When a process began; "" if that is not for us to know.

    On Linux in clock ticks since boot, because there psutil's seconds move when the clock is set.
    """
    try:
        if sys.platform == "linux":
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            return stat.rpartition(")")[2].split()[19]  # after the name, which may hold anything
        return str(psutil.Process(pid).create_time())
    except (OSError, IndexError, psutil.Error):
        return ""
