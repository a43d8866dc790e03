"""What tests need in common: patience with a deadline, and the rules that always hold."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from labkit.measure import events
from labkit.measure.events import Event
from labkit.queue import TaskQueue, keys

Found = TypeVar("Found")


def eventually(check: Callable[[], Found], timeout_s: float = 10.0, *, what: str = "") -> Found:
    """Call ``check`` until it returns something true, and return that; fail when time is up."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what or check}"
        time.sleep(0.01)
    return found


def history(client: Any, *kinds: str) -> list[Event]:
    """The events so far, of some kinds or all."""
    return [event for event in events.read(client) if not kinds or event.kind in kinds]


def places(client: Any, task_ids: Iterable[str]) -> dict[str, str]:
    """Where each task is. Fails if one is nowhere, or in two places at once (rule I1)."""
    task_ids = list(task_ids)
    with client.pipeline(transaction=False) as pipe:
        pipe.lrange(keys.PENDING, 0, -1).zrange(keys.LEASES, 0, -1).zrange(keys.DELAYED, 0, -1)
        pipe.hgetall(keys.OWNERS).keys(keys.held("*"))
        for task_id in task_ids:
            pipe.hget(keys.task(task_id), "state")
        waiting, leases, delayed, owners, holders, *states = pipe.execute()
        for holder in holders:
            pipe.zrange(holder, 0, -1)
        held = dict(zip(holders, pipe.execute(), strict=True)) if holders else {}
    waiting, leases, delayed = set(waiting), set(leases), set(delayed)
    found = {}
    for task_id, state in zip(task_ids, states, strict=True):
        name, ended = task_id.encode(), state in (b"done", b"dead", b"cancelled")
        by = [holder for holder, names in held.items() if name in names]
        owner = [keys.held(owners[name].decode()).encode()] if name in owners else []
        assert by == owner, f"{task_id} is held by {by}, but owned by {owner}"
        assert len(by) == (name in leases), f"{task_id} is held by {by}, leased: {name in leases}"
        is_in = [state.decode()] if ended else []
        is_in += ["leased"] if name in leases else []
        is_in += ["delayed"] if name in delayed else []
        # An id that was pushed twice may stand in the list once more: claim drops it there.
        is_in += ["pending"] if name in waiting and not is_in else []
        assert len(is_in) == 1, f"{task_id} is in {is_in or 'no place at all'}"
        found[task_id] = is_in[0]
    return found


def check_effects(client: Any, task_ids: Iterable[str], batches: Iterable[str]) -> None:
    """Each task has at most one effect, and the counters of a batch add up (rule I2)."""
    done = Counter(name for event in history(client, "done") for name in event.tasks)
    twice = {name: count for name, count in done.items() if count > 1}
    assert not twice, f"done more than once: {twice}"
    for task_id in task_ids:
        state = client.hget(keys.task(task_id), "state")
        assert (state == b"done") == (done[task_id] == 1), f"{task_id}: {state!r}, {done[task_id]}"
    for batch in batches:
        count = Counter({k.decode(): int(v) for k, v in client.hgetall(keys.batch(batch)).items()})
        ended = count["done"] + count["dead"] + count["cancelled"]
        assert count["total"] == count["left"] + ended, f"{batch}: {dict(count)}"


# Time passes by editing what Redis remembers of it, so that no test has to sleep.


def expire(client: Any, *task_ids: str) -> None:
    """Let the leases of some tasks have run out, all if none is named."""
    names = task_ids or client.zrange(keys.LEASES, 0, -1)
    for name in names:
        client.zadd(keys.LEASES, {name: 1}, xx=True)


def outage(client: Any, seconds: float = 60.0) -> None:
    """Let nobody have looked for expired leases for a while."""
    client.set(keys.REAPED_AT, now_ms(client) - round(seconds * 1000))


def watched(client: Any) -> None:
    """Let somebody have looked for expired leases just now: no outage."""
    client.set(keys.REAPED_AT, now_ms(client))


def end_delays(client: Any) -> None:
    """Let every delayed task be due."""
    for name in client.zrange(keys.DELAYED, 0, -1):
        client.zadd(keys.DELAYED, {name: 1}, xx=True)


def reap_expired(queue: TaskQueue, *task_ids: str) -> int:
    """Expire leases and reap, as in a system that was watched all the time."""
    expire(queue.client, *task_ids)
    watched(queue.client)
    return queue.reap()


def now_ms(client: Any) -> int:
    """The clock of Redis."""
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000
