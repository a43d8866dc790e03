"""What can go wrong, as a tree.

::

    LabkitError
    ├── SettingInvalid        an environment variable or option makes no sense
    ├── Refused               the input is at fault: trying again cannot help
    │   ├── InvalidParameter
    │   ├── UnknownFilter
    │   ├── ImageRefused      too large, truncated, not an image
    │   └── ImageExpired      the bytes are gone from Redis
    ├── QueueFull             definite: nothing was enqueued
    ├── StoreFull             definite: Redis is out of memory and refused the write
    ├── RedisUnavailable      indefinite: the last write may or may not have happened
    ├── WrongPassword
    ├── LeaseLost             definite: the result was dropped
    └── ClusterError
        ├── DockerUnavailable
        ├── NoSuchWorker
        └── NotReady

Every error says what happened, why, and what to do, with the values in it. *Definite* means that
it is known not to have happened; after an indefinite error only an idempotent call may be repeated.
"""

from labkit.i18n import _


class LabkitError(Exception):
    """Base of all: three sentences, what / why / what to do."""

    def __init__(self, what: str, why: str = "", todo: str = "") -> None:
        self.what, self.why, self.todo = what, why, todo
        super().__init__("\n".join(part for part in (what, why, todo) if part))


class SettingInvalid(LabkitError):
    """A setting's value cannot be used."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(
            _("{name} is {value!r}, which labkit cannot use.").format(name=name, value=value),
            _("It must be {expected}.").format(expected=expected),
            _("Give it such a value, or leave it out to use the default."),
        )


class Refused(LabkitError):
    """The input itself is at fault, so the task is not tried again."""


class InvalidParameter(Refused):
    """A filter was given a parameter that it cannot use."""

    def __init__(self, filter_name: str, parameter: str, value: object, expected: str) -> None:
        self.filter_name, self.parameter, self.value = filter_name, parameter, value
        super().__init__(
            _("{filter}: {parameter} is {value!r}.").format(
                filter=filter_name, parameter=parameter, value=value
            ),
            _("It must be {expected}.").format(expected=expected),
            _("Change it in filter_params, or leave it out to use the default."),
        )


class UnknownFilter(Refused):
    """No filter has this name."""

    def __init__(self, name: object, known: list[str]) -> None:
        super().__init__(
            _("There is no filter named {name!r}.").format(name=name),
            _("The filters are {known}.").format(known=", ".join(known)),
            _("Check the spelling in filters and filter_params."),
        )


class ImageRefused(Refused):
    """The bytes are not an image that labkit will decode."""

    def __init__(self, reason: str, todo: str = "") -> None:
        super().__init__(
            _("This image was refused."),
            reason,
            todo or _("Send a JPEG, PNG or WebP file within the limits."),
        )


class ImageExpired(Refused):
    """The task's image is no longer in Redis."""

    def __init__(self, digest: str) -> None:
        super().__init__(
            _("The image {digest} is no longer in Redis.").format(digest=digest),
            _("Images are kept for LABKIT_IMAGE_TTL_S seconds after the last submit."),
            _("Submit it again."),
        )


class QueueFull(LabkitError):
    """The backlog is at its limit; nothing was enqueued."""

    def __init__(self, waiting: int, limit: int) -> None:
        self.waiting, self.limit = waiting, limit
        super().__init__(
            _("The queue is full: {waiting} tasks are waiting.").format(waiting=waiting),
            _("The limit is {limit} (LABKIT_MAX_BACKLOG), so nothing was added.").format(
                limit=limit
            ),
            _("Wait for the workers, add workers, or raise the limit."),
        )


class StoreFull(LabkitError):
    """Redis is out of memory and refused new work."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            _("Redis is out of memory, so this work was not accepted."),
            _("It said: {detail}").format(detail=detail),
            _("Work already accepted goes on. Wait for it, or give Redis more maxmemory."),
        )


class RedisUnavailable(LabkitError):
    """Redis did not answer."""

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(
            _("Redis does not answer at {url}.").format(url=url),
            _("It said: {detail}").format(detail=detail),
            _("Start one with `labkit redis`, or set REDIS_URL to one that runs."),
        )


class WrongPassword(LabkitError):
    """Redis refused the user or the password."""

    def __init__(self, url: str) -> None:
        super().__init__(
            _("Redis at {url} refused the user or the password.").format(url=url),
            _("REDIS_URL names them: redis://USER:PASSWORD@HOST:PORT/0."),
            _("Correct REDIS_URL; `labkit redis` prints the one of the server that it starts."),
        )


class LeaseLost(LabkitError):
    """The task was handed to another worker; this result was dropped."""

    def __init__(self, task_id: str, holder: str) -> None:
        super().__init__(
            _("Task {task} is no longer yours: its lease ran out first.").format(task=task_id),
            _("{holder} has it now, so this result was dropped.").format(holder=holder)
            if holder
            else _("It waits for another worker, so this result was dropped."),
            _("Renew while you work, or claim with a longer lease_s."),
        )


class ClusterError(LabkitError):
    """Something about where workers run."""


class DockerUnavailable(ClusterError):
    """No Docker engine answers."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            _("No Docker engine answers."),
            _("It said: {detail}").format(detail=detail),
            _("Start Docker, or use --backend local: the same lab on processes."),
        )


class NoSuchWorker(ClusterError):
    """The cluster has no worker of this name."""

    def __init__(self, worker: str, known: list[str]) -> None:
        super().__init__(
            _("There is no worker named {worker!r} here.").format(worker=worker),
            _("The workers are {known}.").format(known=", ".join(known) or _("none")),
            _("Use one of them, or start more with scale()."),
        )


class NotReady(ClusterError):
    """Workers did not come up in time."""

    def __init__(self, missing: list[str], waited_s: float, log: str) -> None:
        super().__init__(
            _("{missing} did not report for work within {waited:.0f} s.").format(
                missing=", ".join(missing), waited=waited_s
            ),
            _("The end of the log: {log}").format(log=log or _("(empty)")),
            _("Read the rest with logs(), and check that REDIS_URL can be reached from there."),
        )
