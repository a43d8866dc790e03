"""Work that is no use but to learn from: it waits, fails, hangs or dies, as asked.

Each is a closed name in the worker, like a filter; no code ever comes out of a task.
"""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from labkit.errors import Refused
from labkit.i18n import _

Drill = Callable[..., bytes]


def noop() -> bytes:
    """Do nothing: what is left is the price of the queue."""
    return b""


def echo(*, text: str = "") -> bytes:
    """Return the text."""
    return text.encode()


def sleep(*, seconds: float = 0.05) -> bytes:
    """Wait as if for a disk or a network; the processor is free meanwhile."""
    time.sleep(seconds)
    return b""


def spin(*, seconds: float = 0.05) -> bytes:
    """Use so many seconds of a processor: it takes longer on a slow or busy one."""
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass
    return b""


def hold_gil(*, seconds: float = 1.0) -> bytes:
    """Stay in a C call that does not let other threads run. ``PyDLL`` keeps the GIL."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return b""


def fail(*, message: str = "asked to fail") -> bytes:
    """Raise."""
    raise RuntimeError(message)


def crash(*, how: str = "segfault") -> bytes:
    """End the process from inside: "segfault", "abort", "kill" or "exit"."""
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "abort":
        os.abort()
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(3)
    raise Refused(
        _("crash cannot happen by {how!r}.").format(how=how),
        _("It knows segfault, abort, kill and exit."),
        _("Choose one of them."),
    )


DRILLS: dict[str, Drill] = {
    drill.__name__: drill for drill in (noop, echo, sleep, spin, hold_gil, fail, crash)
}


def run(name: str, args: dict[str, Any]) -> bytes:
    """Run a drill.

    Raises:
        Refused: no such drill, or arguments that it does not take.
    """
    drill = DRILLS.get(name)
    if drill is None:
        raise Refused(
            _("There is no work named {name!r}.").format(name=name),
            _("Known are filters, {known}.").format(known=", ".join(DRILLS)),
            _("Check the name; a newer worker may know it."),
        )
    try:
        return drill(**args)
    except TypeError as error:
        raise Refused(
            _("{name} was given arguments that it does not take.").format(name=name),
            str(error),
            _("Leave them out to use the defaults."),
        ) from None
