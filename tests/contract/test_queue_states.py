"""The transitions in every order that a machine can think of, against a model of a few lines.

Several workers live, die, freeze and come back as zombies with old tokens; strangers push into the
list; leases run out and Redis is away. After each step Redis must say what the model says: each
task in exactly one place (I1), one effect at most (I2), counters that add up.

``LABKIT_EXAMPLES`` and ``LABKIT_STEPS`` ask for a longer run; ``LABKIT_TEST_SEED`` repeats one.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from labkit.errors import LeaseLost, QueueFull
from labkit.measure import events
from labkit.queue import TaskQueue, keys
from labkit.settings import Settings
from labkit.task import Claim, Work
from tests.helpers import end_delays, expire, outage, places, watched

WORKERS = ("w1", "w2", "w3")
BATCHES = ("a", "b")
ENDED = ("done", "dead", "cancelled")
Held = tuple[str, Claim]  # a worker and what it took
TUNED = Settings(max_backlog=25)


@dataclass
class Known:
    """What the model knows of a task."""

    state: str = "pending"
    worker: str = ""
    token: int = 0  # of the lease
    outcome: tuple[int, str] = (0, "")  # token of its last ack or fail, and which it was
    result: bytes | None = None
    tries: int = 0
    crashes: int = 0


class Queue(RuleBasedStateMachine):
    """Every transition as a rule. What the model expects is asserted at once."""

    claims = Bundle("claims")  # (worker, claim): kept for ever, so the old ones are zombies'

    def __init__(self, client: Any) -> None:
        super().__init__()
        client.flushall()
        self.client, self.queue = client, TaskQueue(client, TUNED)
        self.tasks: dict[str, Known] = {}
        self.lives = dict.fromkeys(WORKERS, 0)  # 0: not registered
        self.waiting = 0  # elements in the list, doubles and strangers included
        self.strangers: list[str] = []
        self.last_token = self.fenced = self.requeued = 0
        self.done: Counter[str] = Counter()
        self.read_to = "0-0"

    # What the model does.

    def held(self, worker: str) -> list[str]:
        """What a worker holds, in the order in which it took it."""
        mine = [name for name, t in self.tasks.items() if (t.state, t.worker) == ("leased", worker)]
        return sorted(mine, key=lambda name: self.tasks[name].token)

    def leased(self) -> list[str]:
        return [task_id for task_id, task in self.tasks.items() if task.state == "leased"]

    def give_back(self, task_id: str, *, crashed: bool = False) -> None:
        task = self.tasks[task_id]
        task.state, task.worker = "pending", ""
        if crashed:
            task.crashes += 1
            if task.crashes >= TUNED.max_crashes:
                task.state = "dead"
                return
            self.requeued += 1
        self.waiting += 1

    def give_back_all(self, worker: str, *, crashed: bool) -> int:
        held = self.held(worker)
        for n, task_id in enumerate(held):
            self.give_back(task_id, crashed=crashed and n == 0)
        return len(held)

    def due(self) -> None:
        for task in self.tasks.values():
            if task.state == "delayed":
                task.state = "pending"
                self.waiting += 1

    # Work in.

    @initialize()
    def begin_with_work(self) -> None:
        for worker in WORKERS:
            self.register(worker)
        for batch in BATCHES:
            self.enqueue(batch, 0, 4)

    @rule(batch=st.sampled_from(BATCHES), first=st.integers(0, 8), count=st.integers(1, 4))
    def enqueue(self, batch: str, first: int, count: int) -> None:
        ids = [f"{batch}:{n}" for n in range(first, first + count)]
        new = [task_id for task_id in ids if task_id not in self.tasks]
        refused = bool(new) and self.waiting + len(new) > TUNED.max_backlog
        try:
            self.queue.enqueue(batch, [Work(name="noop")] * count, first=first)
            added = True
        except QueueFull:
            added = False
        assert added != refused
        if added:
            self.tasks |= {task_id: Known() for task_id in new}
            self.waiting += len(new)

    @rule(junk=st.sampled_from(["{bad", "", "a:99", "\x00\n"]))
    def stranger_pushes(self, junk: str) -> None:
        self.client.rpush(keys.PENDING, junk)
        self.waiting += 1

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), left=st.booleans())
    def stranger_repeats_an_id(self, data: st.DataObject, left: bool) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.tasks)))
        (self.client.lpush if left else self.client.rpush)(keys.PENDING, task_id)
        self.waiting += 1

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.tasks)), max_size=3))
        waits = {i for i in ids if self.tasks[i].state in ("pending", "delayed")}
        assert self.queue.cancel(ids) == len(waits)
        for task_id in waits:
            self.tasks[task_id].state = "cancelled"

    # Work out.

    @precondition(lambda self: self.waiting)
    @rule(target=claims, worker=st.sampled_from(WORKERS), count=st.sampled_from([1, 2, 3, 50]))
    def claim(self, worker: str, count: int) -> Any:
        alive = max(1, self.client.zcard(keys.BEATS))
        part = min(count, max(-(-self.waiting // alive), 1)) if count > 1 else 1
        part = min(part, self.waiting)
        taken = self.queue.claim(worker, count)
        self.waiting -= part
        assert len(taken) <= part
        for claim in taken:
            task = self.tasks.get(claim.id)
            assert task, f"{claim.id} was given out, but nobody enqueued it"
            assert task.state == "pending", f"{claim.id} was given out while {task.state}"
            assert claim.token > self.last_token, "tokens must grow"
            self.last_token = claim.token
            task.state, task.worker, task.token = "leased", worker, claim.token
        return multiple(*((worker, claim) for claim in taken))

    @rule(target=claims, worker=st.sampled_from(WORKERS))
    def claim_a_slice(self, worker: str) -> Any:  # the same again: more of this than of the rest
        return self.claim(worker, 3)

    @rule(held=claims, result=st.sampled_from([b"", b"x", b"y"]))
    def ack(self, held: Held, result: bytes) -> None:
        self.ack_all(held[0], [held[1]], result)

    @rule(one=claims, two=claims, three=claims)
    def ack_several(self, one: Held, two: Held, three: Held) -> None:
        worker = one[0]
        self.ack_all(worker, [c for owner, c in (one, two, three) if owner == worker], b"z")

    def ack_all(self, worker: str, done: list[Claim], result: bytes) -> None:
        expected = []
        for claim in done:
            task = self.tasks[claim.id]
            if (task.state, task.worker, task.token) == ("leased", worker, claim.token):
                task.state, task.worker = "done", ""
                task.outcome, task.result = (claim.token, "done"), result or None
                expected.append(1)
            elif task.outcome == (claim.token, "done"):
                expected.append(2)
            else:
                self.fenced += 1
                expected.append(0)
        assert self.queue.ack_many(worker, [(claim, result) for claim in done]) == expected

    @rule(held=claims, retry=st.booleans())
    def fail(self, held: Held, retry: bool) -> None:
        worker, claim = held
        task = self.tasks[claim.id]
        mine = (task.state, task.worker, task.token) == ("leased", worker, claim.token)
        if mine:
            task.tries += 1
            task.worker = ""
            task.state = "delayed" if retry and task.tries < TUNED.max_tries else "dead"
            task.outcome = (claim.token, "failed")
        heard = task.outcome == (claim.token, "failed")  # now, or when it was said before
        self.fenced += not heard
        try:
            again = self.queue.fail(worker, claim, "reason", retry=retry)
        except LeaseLost:
            assert not heard
        else:
            assert heard, "a zombie's failure was heard"
            assert again == (task.state != "dead")

    # Workers.

    @rule(worker=st.sampled_from(WORKERS))
    def register(self, worker: str) -> None:
        names = [keys.WORKERS, keys.BEATS]
        if self.lives[worker]:
            namesake = self.entry(worker, life="elsewhere", host="there")
            assert self.queue.call("register", names, namesake) == 0
        self.lives[worker] += 1
        assert self.queue.call("register", names, self.entry(worker)) == 1
        self.give_back_all(worker, crashed=True)

    @rule(worker=st.sampled_from(WORKERS))
    def beat(self, worker: str) -> None:
        if self.lives[worker]:
            name, entry, *_ = self.entry(worker)
            names = [keys.WORKERS, keys.BEATS, keys.LEASES, keys.held(worker)]
            renewed = self.queue.call("beat", names, [name, entry, 6000])
            assert [task_id.decode() for task_id in renewed[::2]] == self.held(worker)

    @rule(worker=st.sampled_from(WORKERS), died=st.booleans(), stale=st.booleans())
    def release(self, worker: str, died: bool, stale: bool) -> None:
        life = self.lives[worker] - (1 if stale else 0)
        refused = bool(self.lives[worker]) and stale
        reply = self.queue.release(
            worker, incarnation=f"life-{life}", died="killed" if died else ""
        )
        assert reply == (-1 if refused else self.give_back_all(worker, crashed=died))

    @rule(one=claims, two=claims, three=claims)
    def recall(self, one: Held, two: Held, three: Held) -> None:
        worker = one[0]
        pairs = [(c.id, c.token) for owner, c in (one, two, three) if owner == worker]
        back = 0
        for task_id, token in reversed(pairs):
            task = self.tasks[task_id]
            if (task.state, task.worker, task.token) == ("leased", worker, token):
                self.give_back(task_id)
                back += 1
        assert self.queue.recall(worker, pairs) == back

    def entry(self, worker: str, life: str = "", host: str = "here") -> list[str | int]:
        life = life or f"life-{self.lives[worker]}"
        told = {"id": worker, "incarnation": life, "host": host, "status": "active"}
        return [worker, json.dumps(told), TUNED.max_crashes, 60_000]

    # Time.

    @precondition(lambda self: self.leased())
    @rule(worker=st.sampled_from(WORKERS))
    def leases_of_a_worker_run_out(self, worker: str) -> None:
        held = self.held(worker)
        if held:
            expire(self.client, *held)
        watched(self.client)
        assert self.queue.reap() == len(held)
        self.give_back_all(worker, crashed=True)

    @precondition(lambda self: self.leased())
    @rule()
    def redis_was_away(self) -> None:
        expire(self.client)
        outage(self.client)
        assert self.queue.reap() == -1
        assert self.queue.reap() == 0, "an outage must not cost a live worker its task"

    @precondition(lambda self: any(task.state == "delayed" for task in self.tasks.values()))
    @rule()
    def delays_end(self) -> None:
        end_delays(self.client)
        watched(self.client)
        assert self.queue.reap() == 0
        self.due()

    # What must hold after each step.

    @invariant()
    def redis_says_what_the_model_says(self) -> None:
        states = {task_id: task.state for task_id, task in self.tasks.items()}
        assert places(self.client, self.tasks) == states
        with self.client.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.STATS).xrange(keys.EVENTS, min=f"({self.read_to}")
            for worker in WORKERS:
                pipe.zrange(keys.held(worker), 0, -1)
            for batch in BATCHES:
                pipe.hgetall(keys.batch(batch))
            for task_id in self.tasks:
                pipe.hmget(keys.task(task_id), "tries", "crashes")
                pipe.pttl(keys.task(task_id)).get(keys.result(task_id))
            stats, news, *rest = pipe.execute()
        held, batches, facts = rest[:3], rest[3:5], rest[5:]
        for worker, names in zip(WORKERS, held, strict=True):
            assert [name.decode() for name in names] == self.held(worker), f"{worker} holds others"
        self.check_effects_happened_once(stats, news)
        for batch, counters in zip(BATCHES, batches, strict=True):
            self.check_counters(batch, {k.decode(): int(v) for k, v in counters.items()})
        for n, (task_id, task) in enumerate(self.tasks.items()):
            (tries, crashes), ttl_ms, result = facts[3 * n : 3 * n + 3]
            assert (int(tries or 0), int(crashes or 0)) == (task.tries, task.crashes), task_id
            assert (ttl_ms > 0) == (task.state in ENDED), f"{task_id}: TTL {ttl_ms} ms"
            assert result == task.result, f"the result of {task_id} is another's"

    def check_effects_happened_once(self, stats: dict[bytes, bytes], news: list[Any]) -> None:
        for event in (events.parse(*entry) for entry in news):
            self.read_to = event.id
            if event.kind == "done":
                self.done.update(event.tasks)
        assert self.done == Counter(i for i, t in self.tasks.items() if t.state == "done")
        assert int(stats.get(b"fenced", 0)) == self.fenced
        assert int(stats.get(b"requeued", 0)) == self.requeued

    def check_counters(self, batch: str, found: dict[str, int]) -> None:
        states = Counter(t.state for i, t in self.tasks.items() if i.startswith(batch))
        for state in ENDED:
            assert found.get(state, 0) == states[state], f"batch {batch}: {state}"
        assert found.get("total", 0) == states.total()
        assert found.get("left", 0) == states.total() - sum(states[state] for state in ENDED)

    def teardown(self) -> None:
        """Whatever happened, somebody can finish what is left."""
        for worker in WORKERS:
            self.give_back_all(worker, crashed=False)
            self.queue.release(worker)
        end_delays(self.client)
        watched(self.client)
        self.queue.reap()
        self.due()
        while self.client.llen(keys.PENDING):
            taken = self.queue.claim("last", 50)
            for claim in taken:
                assert claim.id in self.tasks, f"{claim.id} was not enqueued"
                self.tasks[claim.id].state = "done"
            if taken:
                self.queue.ack_many("last", [(claim, b"") for claim in taken])
        states = {task_id: task.state for task_id, task in self.tasks.items()}
        assert set(states.values()) <= set(ENDED), f"lost: {states}"
        assert places(self.client, states) == states


def run(client: Any, *, examples: int, steps: int, number: int, shrink: bool = True) -> None:
    """Run the machine; raises what it finds."""
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    tuned = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=phases,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(number)(lambda: Queue(client)), settings=tuned)


def test_redis_says_what_the_model_says_whatever_happens_in_whatever_order(server):
    number = int(os.environ["LABKIT_TEST_SEED"])
    examples = int(os.environ.get("LABKIT_EXAMPLES", "60"))
    steps = int(os.environ.get("LABKIT_STEPS", "40"))
    print(f"LABKIT_TEST_SEED={number} LABKIT_EXAMPLES={examples} LABKIT_STEPS={steps}")
    client = server.client()
    try:
        run(client, examples=examples, steps=steps, number=number)
    finally:
        client.close()
