"""Every figure that can be tuned, in one place, with its unit in its name."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from labkit.errors import SettingInvalid
from labkit.i18n import _

DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True, slots=True)
class Settings:
    """How the queue and its workers behave.

    A frozen worker is noticed after at most ``lease_s + reap_s``; a known death at once.
    Each field is read from ``LABKIT_<NAME>``, for example ``LABKIT_LEASE_S=10``.
    """

    lease_s: float = 6.0  # a claim is good for this long unless renewed
    beat_s: float = 1.0  # how often a worker renews and reports
    reap_s: float = 0.5  # how often every process looks for leases that ran out
    task_timeout_s: float = 60.0  # a task that runs longer is stopped
    grace_s: float = 8.0  # after SIGTERM, time to finish the task in hand
    max_crashes: int = 3  # a task that killed this many workers is a dead letter
    max_tries: int = 3  # a task that raised this many times is a dead letter
    max_backlog: int = 100_000  # waiting tasks; beyond it, enqueue refuses
    result_ttl_s: float = 3600.0  # finished tasks and results are kept this long
    image_ttl_s: float = 3600.0  # image bytes are kept this long after the last submit
    slice_s: float = 0.002  # a worker takes at most this much work a round trip
    slice_max: int = 32  # and at most this many tasks
    max_image_mb: float = 32.0  # encoded bytes of one image
    max_pixels: int = 25_000_000  # decoded size of one image

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < math.inf:
                raise SettingInvalid(_variable(field.name), value, _("greater than 0"))
        if self.beat_s * 3 > self.lease_s:
            raise SettingInvalid(
                "LABKIT_LEASE_S",
                self.lease_s,
                _("at least three beats ({s:g} s)").format(s=self.beat_s * 3),
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings that the environment changes.

        Raises:
            SettingInvalid: a value is not a number, or out of range.
        """
        changed: dict[str, float | int] = {}
        for field in fields(cls):
            text = environ.get(_variable(field.name))
            if not text:
                continue
            try:
                changed[field.name] = int(text) if field.type is int else float(text)
            except ValueError:
                kind = _("a whole number") if field.type is int else _("a number")
                raise SettingInvalid(_variable(field.name), text, kind) from None
        return cls(**changed)  # type: ignore[arg-type]

    def to_env(self) -> dict[str, str]:
        """What to set so that another process reads the same settings."""
        return {_variable(field.name): str(getattr(self, field.name)) for field in fields(self)}


def _variable(field_name: str) -> str:
    return f"LABKIT_{field_name.upper()}"
