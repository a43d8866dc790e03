"""The names of things in Redis: one place, so that redis-cli and the code agree.

==========================  ============================================================
``image_tasks``             LIST of waiting task ids, so ``LLEN image_tasks`` answers
``image_tasks:leases``      ZSET id -> when its lease ends (ms, Redis clock)
``image_tasks:owners``      HASH id -> the worker that has it
``image_tasks:delayed``     ZSET id -> when to try again (ms)
``image_tasks:dead``        LIST of JSON dead letters, newest first, with their reason
``image_tasks:reaped_at``   STRING when somebody last looked for expired leases (ms)
``task:<id>``               HASH body, tries, crashes, error; when it ends state, token, worker, TTL
``image:<digest>``          STRING image bytes, by content; TTL
``result:<id>``             STRING result bytes; TTL
``workers``                 HASH id -> JSON, so ``HGETALL workers`` answers
``workers:beats``           ZSET id -> last beat (ms)
``workers:completed``       HASH id -> tasks done; ``workers:failed`` likewise; TTL without beats
``worker:<id>:tasks``       ZSET of the ids it holds -> fencing token; the lowest is what runs
``batch:<id>``              HASH total, left, done, dead; TTL
``labkit:token``            STRING the newest fencing token; it only ever grows
``labkit:events``           STREAM of what happened, capped
``labkit:stats``            HASH fenced, requeued
==========================  ============================================================
"""

PENDING = "image_tasks"
LEASES = "image_tasks:leases"
OWNERS = "image_tasks:owners"
DELAYED = "image_tasks:delayed"
DEAD = "image_tasks:dead"
REAPED_AT = "image_tasks:reaped_at"
WORKERS = "workers"
BEATS = "workers:beats"
COMPLETED = "workers:completed"
FAILED = "workers:failed"
EVENTS = "labkit:events"
STATS = "labkit:stats"
TOKEN = "labkit:token"


def task(task_id: str) -> str:
    """The hash of one task."""
    return f"task:{task_id}"


def held(worker_id: str) -> str:
    """The tasks that a worker holds."""
    return f"worker:{worker_id}:tasks"


def image(digest: str) -> str:
    """The bytes of one image."""
    return f"image:{digest}"


def result(task_id: str) -> str:
    """The result of one task."""
    return f"result:{task_id}"


def batch(batch_id: str) -> str:
    """The counters of one batch."""
    return f"batch:{batch_id}"
