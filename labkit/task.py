"""What a task is while it travels: JSON in Redis, a Task in a worker.

A task names its work and carries its parameters; image bytes travel apart, by digest. The body is
JSON so that ``redis-cli HGET task:ID body`` can be read by a person. Unknown fields are refused, so
a typo in a parameter is an error rather than a default.
"""

import hashlib
from typing import Any

import msgspec

from labkit.errors import Refused
from labkit.i18n import _

SCHEMA = 1

Params = dict[str, Any]


class Work(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """What to do: ``filters`` on an image, or one of the drills (``noop``, ``sleep``, ...).

    Attributes:
        name: the kind of work, "filters" for images.
        filters: names, applied in order.
        filter_params: parameters by filter name, as in the HTTP body.
        image: digest of the image bytes, stored at ``image:<digest>``.
        output: format of the encoded result, "jpg" or "png".
        args: parameters of a drill.
        timeout_s: it is stopped when it runs longer; 0 for the worker's own limit.
        schema: version of this shape; a worker leaves a newer one to newer workers.
    """

    name: str = "filters"
    filters: tuple[str, ...] = ()
    filter_params: dict[str, Params] = {}
    image: str | None = None
    output: str = "jpg"
    args: Params = {}
    timeout_s: float = 0.0
    schema: int = SCHEMA

    @property
    def label(self) -> str:
        """Short name for plots and events: "sharpen+edges", or the drill's name."""
        return "+".join(self.filters) if self.name == "filters" else self.name


class Claim(msgspec.Struct, frozen=True):
    """A task in a worker's hands, and the token that proves it.

    The body stays bytes: a malformed one is the task's failure, not the queue's.
    """

    id: str
    token: int
    body: bytes

    @property
    def work(self) -> Work:
        """The decoded body.

        Raises:
            Refused: the body is not a Work.
        """
        return decode(self.body)


_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Work)


def encode(work: Work) -> bytes:
    """Write a Work as JSON."""
    return _encoder.encode(work)


def decode(body: bytes) -> Work:
    """Read a Work.

    Raises:
        Refused: not JSON, or not the shape of a Work.
    """
    try:
        return _decoder.decode(body)
    except _UNREADABLE as error:
        raise Refused(
            _("The body of this task cannot be read."),
            str(error),
            _("Enqueue tasks through labkit, which checks them first."),
        ) from None


def schema_of(body: bytes) -> int:
    """The version of a body that may be newer than we are; 0 if it has none."""
    try:
        return msgspec.json.decode(body, type=_Versioned).schema
    except _UNREADABLE:
        return 0


class _Versioned(msgspec.Struct):
    schema: int = 0


def digest(data: bytes) -> str:
    """Name image bytes by their content: 32 hex digits of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
