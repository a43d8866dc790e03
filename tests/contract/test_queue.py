"""What the queue promises, transition by transition, on every server that is installed."""

import json
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from labkit.cluster.redis_server import RedisServer
from labkit.connection import connect
from labkit.errors import LeaseLost, QueueFull, RedisUnavailable, StoreFull, WrongPassword
from labkit.queue import Registry, TaskQueue, keys
from labkit.settings import Settings
from labkit.task import Claim, Work
from tests.helpers import (
    check_effects,
    end_delays,
    expire,
    history,
    now_ms,
    outage,
    places,
    reap_expired,
    watched,
)

NOOP = Work(name="noop")
W1, W2, W3 = "worker-1", "worker-2", "worker-3"


def put(queue: TaskQueue, count: int = 1, batch: str = "b") -> list[str]:
    return queue.enqueue(batch, [NOOP] * count)


def entry(
    worker: str = W1, life: str = "life-1", host: str = "here", status: str = "active"
) -> str:
    return json.dumps(
        {"id": worker, "incarnation": life, "host": host, "status": status, "capabilities": []}
    )


def register(queue: TaskQueue, worker: str = W1, life: str = "life-1", host: str = "here") -> int:
    arguments = [worker, entry(worker, life, host, "starting"), 3, 3000]
    return queue.call("register", [keys.WORKERS, keys.BEATS], arguments)


def beat(queue: TaskQueue, worker: str = W1, life: str = "life-1", **fields: str) -> list[bytes]:
    names = [keys.WORKERS, keys.BEATS, keys.LEASES, keys.held(worker)]
    lease_ms = round(queue.settings.lease_s * 1000)
    return queue.call("beat", names, [worker, entry(worker, life, **fields), lease_ms])


def letters(queue: TaskQueue) -> list[dict]:
    found = queue.client.lrange(keys.DEAD, 0, -1)
    return [json.loads(letter.decode(errors="replace")) for letter in found]


def fenced(queue: TaskQueue) -> int:
    return int(queue.client.hget(keys.STATS, "fenced") or 0)


# enqueue


def test_ids_are_the_batch_and_a_number_and_the_first_in_is_the_first_out(queue):
    assert put(queue, 3) == ["b:0", "b:1", "b:2"]
    assert queue.enqueue("b", [NOOP], first=7) == ["b:7"]
    assert [queue.claim(W1)[0].id for _ in range(4)] == ["b:0", "b:1", "b:2", "b:7"]


def test_llen_and_the_body_can_be_read_with_redis_cli(queue):
    queue.enqueue("b", [Work(filters=("blur",), image="d")])
    assert queue.client.llen("image_tasks") == 1
    assert json.loads(queue.client.hget("task:b:0", "body")) == {"filters": ["blur"], "image": "d"}


def test_enqueueing_again_adds_nothing_in_whatever_state_the_task_is(queue):
    put(queue, 3)
    done, leased = queue.claim(W1)[0], queue.claim(W1)[0]
    queue.ack(W1, done)
    put(queue, 3)
    assert places(queue.client, ["b:0", "b:1", "b:2"]) == {
        "b:0": "done",
        leased.id: "leased",
        "b:2": "pending",
    }
    assert queue.depth().waiting == 1
    assert queue.client.hget("batch:b", "total") == b"3"


def test_a_full_queue_refuses_the_whole_call_with_the_figures(queue):
    small = TaskQueue(queue.client, Settings(max_backlog=5))
    put(small, 3)
    with pytest.raises(QueueFull, match="3 tasks are waiting") as caught:
        small.enqueue("c", [NOOP] * 3)
    assert (caught.value.waiting, caught.value.limit) == (3, 5)
    assert "5" in str(caught.value)
    assert queue.depth().waiting == 3
    assert not queue.client.exists("batch:c", "task:c:0")


def test_repeating_an_enqueue_on_a_queue_that_it_filled_is_no_error(queue):
    small = TaskQueue(queue.client, Settings(max_backlog=5))
    put(small, 5)
    put(small, 5)  # as after a lost reply: QueueFull would say that nothing was added
    assert queue.depth().waiting == 5


def test_many_tasks_go_in_chunks_and_none_is_lost_between_them(queue):
    ids = put(queue, 1203)
    assert queue.depth().waiting == 1203
    assert queue.client.hmget("batch:b", "total", "left") == [b"1203", b"1203"]
    assert set(places(queue.client, ids).values()) == {"pending"}


def test_tasks_added_to_a_batch_that_was_through_keep_its_counters_alive(queue):
    put(queue)
    queue.ack(W1, queue.claim(W1)[0])
    assert queue.client.pttl("batch:b") > 0
    queue.enqueue("b", [NOOP], first=1)
    assert queue.client.pttl("batch:b") == -1


# claim


def test_two_consumers_share_the_tasks_and_none_goes_to_both(any_server, queue):
    ids, taken = put(queue, 200), {W1: [], W2: []}

    def consume(worker: str) -> None:
        client = connect(any_server.url)
        own = TaskQueue(client, queue.settings)
        while claims := own.claim(worker, 4):
            taken[worker] += [claim.id for claim in claims]
        client.close()

    threads = [threading.Thread(target=consume, args=(worker,)) for worker in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken[W1] + taken[W2]) == sorted(ids)
    assert set(places(queue.client, ids).values()) == {"leased"}


def test_a_worker_gets_its_part_of_what_waits_so_that_none_hoards(queue):
    for worker in (W1, W2):
        register(queue, worker)
    put(queue, 10)
    assert len(queue.claim(W1, 32)) == 5
    assert len(queue.claim(W2, 32)) == 3
    assert len(queue.claim(W2, 1)) == 1


def test_an_empty_queue_gives_nothing(queue):
    assert queue.claim(W1, 10) == []


def test_tokens_only_ever_grow_over_all_tasks_and_workers(queue):
    put(queue, 4)
    tokens = [claim.token for claim in queue.claim(W1, 2) + queue.claim(W2, 2)]
    queue.release(W1)
    tokens += [claim.token for claim in queue.claim(W2, 2)]
    assert tokens == sorted(set(tokens))


def test_a_lease_ends_lease_s_from_now_on_the_clock_of_redis(queue):
    put(queue)
    before = now_ms(queue.client)
    queue.claim(W1)
    lease_ms = queue.settings.lease_s * 1000
    end = queue.client.zscore(keys.LEASES, "b:0")
    assert before + lease_ms <= end <= now_ms(queue.client) + lease_ms


def test_a_claim_of_more_than_lua_can_handle_at_once_loses_nothing(queue):
    ids = put(queue, 9000)
    assert 0 < len(queue.claim(W1, 9000)) <= 9000
    assert set(places(queue.client, ids).values()) <= {"pending", "leased"}


# ack


def test_an_ack_publishes_the_result_and_counts_once(queue):
    put(queue)
    claim = queue.claim(W1)[0]
    queue.ack(W1, claim, b"bytes", label="blur")
    assert queue.result("b:0") == b"bytes"
    known = queue.task("b:0")
    assert (known["state"], known["worker"]) == ("done", W1)
    assert queue.client.hget("batch:b", "done") == b"1"
    assert queue.client.hget(keys.COMPLETED, W1) == b"1"
    (done,) = history(queue.client, "done")
    assert (done.tasks, done.worker, done.fields["op"]) == (["b:0"], W1, "blur")


def test_a_second_ack_is_harmless(queue):
    put(queue)
    claim = queue.claim(W1)[0]
    assert queue.ack_many(W1, [(claim, b"one")]) == [1]
    assert queue.ack_many(W1, [(claim, b"two")]) == [2]
    queue.ack(W1, claim, b"three")
    assert queue.result("b:0") == b"one"
    assert queue.client.hmget("batch:b", "done", "left") == [b"1", b"0"]
    assert fenced(queue) == 0


def test_an_ack_that_names_a_task_twice_counts_it_once(queue):
    put(queue)
    claim = queue.claim(W1)[0]
    assert queue.ack_many(W1, [(claim, b"one"), (claim, b"two")]) == [1, 2]
    assert queue.result("b:0") == b"one"
    check_effects(queue.client, ["b:0"], ["b"])


def test_several_acks_at_once_are_judged_one_by_one(queue):
    put(queue, 3)
    first, lost, last = queue.claim(W1, 3)
    queue.recall(W1, [(lost.id, lost.token)])
    queue.ack(W1, first)
    assert queue.ack_many(W1, [(first, b""), (lost, b""), (last, b"")]) == [2, 0, 1]
    assert places(queue.client, ["b:0", "b:1", "b:2"])["b:1"] == "pending"


def test_the_ack_of_a_zombie_is_refused_and_its_result_dropped(queue):
    put(queue)
    old = queue.claim(W1)[0]
    reap_expired(queue)
    new = queue.claim(W2)[0]
    with pytest.raises(LeaseLost, match=W2):
        queue.ack(W1, old, b"zombie")
    assert queue.result("b:0") is None
    assert fenced(queue) == 1
    assert [(e.tasks, e.worker) for e in history(queue.client, "fenced")] == [(["b:0"], W1)]
    queue.ack(W2, new, b"right")
    assert queue.result("b:0") == b"right"
    with pytest.raises(LeaseLost):
        queue.ack(W1, old, b"zombie")
    assert queue.result("b:0") == b"right"


def test_a_zombie_that_was_given_the_task_again_must_use_the_new_token(queue):
    put(queue)
    old = queue.claim(W1)[0]
    reap_expired(queue)
    new = queue.claim(W1)[0]
    with pytest.raises(LeaseLost):
        queue.ack(W1, old, b"old")
    queue.ack(W1, new, b"new")
    assert queue.result("b:0") == b"new"


# fail


def test_a_failed_task_waits_a_while_and_comes_back(queue):
    put(queue)
    assert queue.fail(W1, queue.claim(W1)[0], "it raised")
    assert places(queue.client, ["b:0"]) == {"b:0": "delayed"}
    watched(queue.client)
    queue.reap()
    assert queue.claim(W2) == []
    end_delays(queue.client)
    queue.reap()
    assert [claim.id for claim in queue.claim(W2)] == ["b:0"]
    known = queue.task("b:0")
    assert (known["tries"], known["error"]) == ("1", "it raised")


def test_the_delay_doubles_with_each_try_and_has_an_upper_end(queue):
    patient = TaskQueue(queue.client, Settings(max_tries=20))
    put(patient)
    delays = []
    for _try in range(9):
        patient.fail(W1, patient.claim(W1)[0], "again")
        delays.append(patient.client.zscore(keys.DELAYED, "b:0") - now_ms(patient.client))
        end_delays(patient.client)
        watched(patient.client)
        patient.reap()
    assert 400 < delays[0] <= 1000
    assert 900 < delays[1] <= 2000
    assert 59_000 < delays[-1] <= 60_000


def test_a_permanent_failure_is_a_dead_letter_with_its_reason_at_the_first_try(queue):
    put(queue)
    assert not queue.fail(W1, queue.claim(W1)[0], "bad input", retry=False)
    assert places(queue.client, ["b:0"]) == {"b:0": "dead"}
    (letter,) = letters(queue)
    assert (letter["task"], letter["worker"], letter["reason"]) == ("b:0", W1, "bad input")
    known = queue.task("b:0")
    assert (known["state"], known["tries"], known["error"]) == ("dead", "1", "bad input")
    assert queue.client.hmget("batch:b", "dead", "left") == [b"1", b"0"]
    assert queue.client.hget(keys.FAILED, W1) == b"1"


def test_a_task_that_raised_three_times_is_a_dead_letter(queue):
    put(queue)
    answers = []
    for _try in range(3):
        answers.append(queue.fail(W1, queue.claim(W1)[0], "again"))
        end_delays(queue.client)
        watched(queue.client)
        queue.reap()
    assert answers == [True, True, False]
    assert places(queue.client, ["b:0"]) == {"b:0": "dead"}


def test_a_second_fail_of_the_same_claim_is_harmless_even_when_it_comes_late(queue):
    put(queue)
    claim = queue.claim(W1)[0]
    assert queue.fail(W1, claim, "once")
    assert queue.fail(W1, claim, "once")
    end_delays(queue.client)
    watched(queue.client)
    queue.reap()
    assert queue.fail(W1, claim, "once")
    queue.claim(W2)
    assert queue.fail(W1, claim, "once")
    assert queue.task("b:0")["tries"] == "1"
    assert places(queue.client, ["b:0"]) == {"b:0": "leased"}
    assert fenced(queue) == 0


def test_the_fail_of_a_zombie_is_refused(queue):
    put(queue)
    old = queue.claim(W1)[0]
    reap_expired(queue)
    queue.claim(W2)
    with pytest.raises(LeaseLost):
        queue.fail(W1, old, "zombie")
    assert queue.task("b:0").get("tries") is None
    assert fenced(queue) == 1


def test_a_long_reason_is_cut(queue):
    put(queue)
    queue.fail(W1, queue.claim(W1)[0], "x" * 1_000_000, retry=False)
    assert len(queue.task("b:0")["error"]) == 2000


# release and recall: what a worker gives back


def test_a_worker_that_stops_gives_back_in_order_and_nothing_is_counted(queue):
    put(queue, 4)
    queue.claim(W1, 3)
    assert queue.release(W1) == 3
    assert [claim.id for claim in queue.claim(W2, 4)] == ["b:0", "b:1", "b:2", "b:3"]
    assert all(queue.task(f"b:{n}").get("crashes") is None for n in range(3))
    assert history(queue.client, "requeued") == []
    assert history(queue.client, "released")[0].tasks == ["b:0", "b:1", "b:2"]


def test_a_death_counts_against_the_task_that_was_running_and_no_other(queue):
    put(queue, 3)
    queue.claim(W1, 3)
    queue.release(W1, died="SIGSEGV")
    assert [queue.task(f"b:{n}").get("crashes") for n in range(3)] == ["1", None, None]
    (requeued,) = history(queue.client, "requeued")
    assert (requeued.tasks, requeued.fields["reason"]) == (["b:0"], "SIGSEGV")
    assert history(queue.client, "released")[0].tasks == ["b:1", "b:2"]


def test_three_crashes_are_a_dead_letter_and_have_nothing_to_do_with_tries(queue):
    put(queue)
    queue.fail(W1, queue.claim(W1)[0], "it raised")
    end_delays(queue.client)
    watched(queue.client)
    queue.reap()
    for count in range(3):
        assert places(queue.client, ["b:0"]) == {"b:0": "pending"}, f"after {count} crashes"
        queue.claim(W1)
        queue.release(W1, died="SIGSEGV")
    assert places(queue.client, ["b:0"]) == {"b:0": "dead"}
    known = queue.task("b:0")
    assert (known["tries"], known["crashes"]) == ("1", "3")
    assert "3 times" in letters(queue)[0]["reason"]
    assert "SIGSEGV" in letters(queue)[0]["reason"]
    assert (queue.depth().waiting, len(history(queue.client, "requeued"))) == (0, 2)


def test_a_stale_life_cannot_release_what_the_next_one_holds(queue):
    register(queue, life="old")
    register(queue, life="new")
    put(queue)
    queue.claim(W1)
    assert queue.release(W1, incarnation="old", died="killed", status="dead") == -1
    assert places(queue.client, ["b:0"]) == {"b:0": "leased"}
    assert queue.release(W1, incarnation="new", died="killed", status="dead") == 1
    assert places(queue.client, ["b:0"]) == {"b:0": "pending"}


def test_a_death_and_a_leaving_show_in_the_registry(queue):
    registry = Registry(queue.client, queue.settings)
    register(queue)
    beat(queue)
    queue.release(W1, incarnation="life-1", died="killed", status="dead")
    assert [(w.id, w.status) for w in registry.workers()] == [(W1, "dead")]
    assert len(history(queue.client, "died")) == 1
    queue.release(W1, incarnation="life-1", status="left")
    assert registry.workers() == []
    assert len(history(queue.client, "left")) == 1


def test_recall_takes_back_by_token_so_a_task_that_was_claimed_anew_stays(queue):
    put(queue, 3)
    running, first, second = queue.claim(W1, 3)
    waiting = [(first.id, first.token), (second.id, second.token)]
    assert queue.recall(W1, waiting) == 2
    again = queue.claim(W1)[0]
    assert again.id == first.id
    assert queue.recall(W1, waiting) == 0
    assert places(queue.client, [running.id, first.id, second.id]) == {
        running.id: "leased",
        first.id: "leased",
        second.id: "pending",
    }


def test_recalled_tasks_keep_their_order(queue):
    put(queue, 4)
    _, *rest = queue.claim(W1, 3)
    queue.recall(W1, [(claim.id, claim.token) for claim in rest])
    assert [claim.id for claim in queue.claim(W2, 3)] == ["b:1", "b:2", "b:3"]


# beat and register


def test_a_beat_renews_what_the_worker_holds_and_nothing_else(queue):
    put(queue, 2)
    queue.claim(W1)
    queue.claim(W2)
    expire(queue.client)
    assert beat(queue)[::2] == [b"b:0"]
    watched(queue.client)
    assert queue.reap() == 1
    assert places(queue.client, ["b:0", "b:1"]) == {"b:0": "leased", "b:1": "pending"}


def test_a_beat_creates_a_lost_registry_entry_again_and_keeps_the_counters(queue):
    registry = Registry(queue.client, queue.settings)
    register(queue)
    put(queue, 2)
    queue.ack(W1, queue.claim(W1)[0])
    queue.fail(W1, queue.claim(W1)[0], "bad", retry=False)
    queue.client.delete(keys.WORKERS, keys.BEATS)
    beat(queue)
    (worker,) = registry.workers()
    assert (worker.tasks_completed, worker.tasks_failed) == (1, 1)
    assert (worker.status, worker.beat_age_s < 5) == ("active", True)
    assert queue.client.zcard(keys.BEATS) == 1


def test_a_beat_replaces_a_registry_entry_that_a_stranger_broke(queue):
    for broken in ("{bad", "[]", "7", '"x"'):
        queue.client.hset(keys.WORKERS, W1, broken)
        beat(queue)
        assert [w.status for w in Registry(queue.client).workers()] == ["active"]


def test_a_worker_that_has_just_registered_is_starting_not_dead(queue):
    register(queue)
    assert [w.status for w in Registry(queue.client).workers()] == ["starting"]


def test_silence_makes_a_worker_suspect_and_then_dead(queue):
    registry = Registry(queue.client, queue.settings)
    beat(queue)
    for age_s, status in ((0, "active"), (0.7, "suspect"), (5, "dead")):
        shown = json.loads(queue.client.hget(keys.WORKERS, W1))
        shown["last_heartbeat"] = now_ms(queue.client) / 1000 - age_s
        queue.client.hset(keys.WORKERS, W1, json.dumps(shown))
        assert registry.workers()[0].status == status


def test_an_unreadable_registry_entry_is_shown_as_dead_not_raised(queue):
    queue.client.hset(keys.WORKERS, W2, b"\xff{")
    assert [(w.id, w.status) for w in Registry(queue.client).workers()] == [(W2, "dead")]


def test_a_new_life_of_a_worker_gives_back_what_the_last_one_held(queue):
    register(queue)
    put(queue, 2)
    queue.claim(W1, 2)
    assert register(queue, life="life-2") == 1
    assert places(queue.client, ["b:0", "b:1"]) == {"b:0": "pending", "b:1": "pending"}
    assert [queue.task(name).get("crashes") for name in ("b:0", "b:1")] == ["1", None]


def test_registering_twice_is_harmless(queue):
    register(queue)
    put(queue)
    queue.claim(W1)
    assert register(queue) == 1
    assert places(queue.client, ["b:0"]) == {"b:0": "leased"}


def test_a_name_that_a_live_worker_on_another_host_has_is_refused(queue):
    register(queue, host="here")
    put(queue)
    queue.claim(W1)
    assert register(queue, life="life-2", host="there") == 0
    assert places(queue.client, ["b:0"]) == {"b:0": "leased"}
    queue.client.zadd(keys.BEATS, {W1: now_ms(queue.client) - 3001})
    assert register(queue, life="life-2", host="there") == 1


def test_a_name_whose_worker_is_known_dead_is_free_at_once(queue):
    register(queue, host="here")
    queue.release(W1, incarnation="life-1", died="killed", status="dead")
    assert register(queue, life="life-2", host="there") == 1


def test_each_change_of_a_worker_is_one_event(queue):
    register(queue)
    for status in ("starting", "active", "busy", "active", "draining", "draining"):
        beat(queue, status=status)
    kinds = [event.kind for event in history(queue.client)]
    assert kinds == ["joined", "active", "draining"]


# reap


def test_a_lease_that_ran_out_is_taken_back_and_counted(queue):
    put(queue, 2)
    queue.claim(W1, 2)
    assert reap_expired(queue) == 2
    assert places(queue.client, ["b:0", "b:1"]) == {"b:0": "pending", "b:1": "pending"}
    assert [queue.task(name).get("crashes") for name in ("b:0", "b:1")] == ["1", None]
    assert [e.fields["reason"] for e in history(queue.client, "requeued")] == ["expired"]


def test_three_expiries_are_a_dead_letter(queue):
    put(queue)
    for _life in range(3):
        queue.claim(W1)
        reap_expired(queue)
    assert places(queue.client, ["b:0"]) == {"b:0": "dead"}


def test_after_an_outage_every_lease_is_granted_a_full_term_first(queue):
    put(queue)
    claim = queue.claim(W1)[0]
    expire(queue.client)
    outage(queue.client)
    assert queue.reap() == -1
    assert queue.reap() == 0
    assert places(queue.client, ["b:0"]) == {"b:0": "leased"}
    left_ms = queue.client.zscore(keys.LEASES, "b:0") - now_ms(queue.client)
    assert left_ms > 0.8 * queue.settings.lease_s * 1000
    assert len(history(queue.client, "recovered")) == 1
    queue.ack(W1, claim)
    assert history(queue.client, "requeued") == []


def test_an_outage_of_one_lease_is_noticed_but_not_a_late_look(queue):
    put(queue)
    queue.claim(W1)
    expire(queue.client)
    outage(queue.client, queue.settings.lease_s)
    assert queue.reap() == -1
    expire(queue.client)
    outage(queue.client, 2 * queue.settings.reap_s)
    assert queue.reap() == 1


def test_a_worker_that_was_silent_for_ten_minutes_is_forgotten(queue):
    register(queue, W1)
    register(queue, W2)
    queue.client.zadd(keys.BEATS, {W1: now_ms(queue.client) - 601_000})
    watched(queue.client)
    queue.reap()
    assert [w.id for w in Registry(queue.client).workers()] == [W2]
    assert queue.client.zcard(keys.BEATS) == 1


# cancel


def test_cancel_forgets_what_nobody_has_begun_and_leaves_the_rest(queue):
    ids = put(queue, 4)
    done, leased, delayed = queue.claim(W1, 3)
    queue.ack(W1, done)
    queue.fail(W1, delayed, "later")
    assert queue.cancel([*ids, "b:99", ids[3]]) == 2
    assert places(queue.client, ids) == {
        "b:0": "done",
        "b:1": "leased",
        "b:2": "cancelled",
        "b:3": "cancelled",
    }
    assert queue.claim(W2, 9) == []
    end_delays(queue.client)
    watched(queue.client)
    queue.reap()
    assert queue.claim(W2, 9) == []
    assert letters(queue) == []
    queue.ack(W1, leased)
    check_effects(queue.client, ids, ["b"])
    assert queue.client.hmget("batch:b", "left", "cancelled") == [b"0", b"2"]


def test_cancelling_nothing_is_nothing(queue):
    assert queue.cancel([]) == 0


# What strangers push


STRANGERS = {
    "malformed JSON": b'{"bad',
    "binary bytes": b"\x00\xff\xfe\r\n\x80",
    "the task of the lesson": b'{"id": "t1", "image": "a.jpg", "filters": ["blur"]}',
    "nothing": b"",
    "a newline and quotes": b'a"b\nc\\d',
    "an id of no task": b"b:99",
}


@pytest.mark.parametrize("element", STRANGERS.values(), ids=STRANGERS)
def test_a_strangers_element_becomes_a_dead_letter_untouched_and_the_loop_lives(queue, element):
    queue.client.rpush("image_tasks", element)
    ids = put(queue, 2)
    claims = [claim for _ in range(3) for claim in queue.claim(W1)]
    assert [claim.id for claim in claims] == ids
    raw = queue.client.lindex(keys.DEAD, 0)
    letter = json.loads(raw.decode("latin-1"), strict=False)
    assert letter["task"].encode("latin-1") == element
    assert "not the id of a task" in letter["reason"]
    assert len(history(queue.client, "dead")) == 1


def test_a_key_of_the_wrong_type_under_a_tasks_name_is_a_dead_letter(queue):
    queue.client.set("task:odd", "a string")
    queue.client.rpush("task:odder", "a list")
    queue.client.rpush("image_tasks", "odd", "odder")
    put(queue)
    assert [claim.id for claim in queue.claim(W1, 9)] == ["b:0"]
    assert sorted(letter["task"] for letter in letters(queue)) == ["odd", "odder"]
    assert queue.client.get("task:odd") == b"a string"


def test_an_id_that_was_pushed_twice_is_given_once_even_in_one_slice(queue):
    put(queue, 2)
    queue.client.lpush("image_tasks", "b:0", "b:1", "b:0")
    claims = queue.claim(W1, 9)
    assert sorted(claim.id for claim in claims) == ["b:0", "b:1"]
    for claim in claims:
        queue.ack(W1, claim)
    queue.client.lpush("image_tasks", "b:0")
    assert queue.claim(W1, 9) == []
    check_effects(queue.client, ["b:0", "b:1"], ["b"])
    assert letters(queue) == []


def test_the_dead_letters_are_capped_and_expire(queue):
    queue.client.rpush(keys.DEAD, *["{}"] * 10_050)
    queue.client.rpush("image_tasks", "stranger")
    queue.claim(W1)
    assert queue.client.llen(keys.DEAD) == 10_000
    assert letters(queue)[0]["task"] == "stranger"
    assert queue.client.pttl(keys.DEAD) > 0


# What is left behind

PERMANENT = {
    keys.WORKERS,  # forgotten after ten minutes of silence
    keys.BEATS,
    keys.COMPLETED,  # one number a worker
    keys.FAILED,
    keys.REAPED_AT,
    keys.TOKEN,
    keys.STATS,
    keys.EVENTS,  # capped
}


def test_whatever_is_left_of_finished_work_expires(queue):
    register(queue)
    put(queue, 5)
    queue.put_image("digest", b"pixels")
    done, bad, ill, late, _ = queue.claim(W1, 5)
    queue.ack(W1, done, b"result")
    queue.fail(W1, bad, "bad", retry=False)
    for life in ("a", "b", "c"):
        register(queue, life=life)
        queue.claim(W1)
    queue.release(W1)
    queue.client.rpush("image_tasks", "stranger")
    while claims := queue.claim(W2, 9):
        queue.ack_many(W2, [(claim, b"") for claim in claims])
    assert places(queue.client, [f"b:{n}" for n in range(5)])[ill.id] == "dead"
    queue.enqueue("c", [NOOP, NOOP])
    queue.cancel(["c:0", "c:1"])
    queue.claim(W2, 9)
    watched(queue.client)
    queue.reap()
    assert late.id == "b:3"
    for key in queue.client.scan_iter("*"):
        assert key.decode() in PERMANENT or queue.client.pttl(key) > 0, f"{key} stays for ever"


def test_the_events_are_capped(queue):
    put(queue)
    fill = "for n = 1, 9900 do redis.call('XADD', KEYS[1], '*', 'k', n) end"
    for _chunk in range(21):
        queue.client.eval(fill, 1, keys.EVENTS)
    queue.claim(W1)
    assert queue.client.xlen(keys.EVENTS) < 201_000


# When Redis is short of memory, closed, or not there


@pytest.fixture
def full(any_server: RedisServer, queue: TaskQueue):
    """Out of memory: call it when the test is ready for that."""

    def fill() -> None:
        used = queue.client.info("memory")["used_memory"]
        queue.client.config_set("maxmemory", used // 2)

    yield fill
    queue.client.config_set("maxmemory", 0)


def test_without_memory_new_work_is_refused_and_accepted_work_goes_on(queue, full):
    register(queue)
    ids = put(queue, 8)
    claims = queue.claim(W1, 4)
    queue.claim(W3)
    expire(queue.client, ids[4])
    watched(queue.client)
    full()
    with pytest.raises(StoreFull, match="out of memory"):
        put(queue, 2, batch="new")
    with pytest.raises(StoreFull):
        queue.put_image("digest", b"pixels")
    assert beat(queue)[::2] == [claim.id.encode() for claim in claims]
    queue.ack(W1, claims[0], b"result")
    assert queue.fail(W1, claims[1], "it raised")
    queue.recall(W1, [(claims[3].id, claims[3].token)])
    queue.release(W1)
    assert register(queue, W2) == 1
    assert queue.reap() == 1
    assert len(queue.claim(W2, 2)) == 2
    assert queue.cancel([ids[7]]) == 1
    assert sorted(places(queue.client, ids).values()) == [
        *("cancelled", "delayed", "done", "leased", "leased"),
        *("pending", "pending", "pending"),
    ]
    assert not queue.client.exists("batch:new")


def test_a_wrong_password_says_so_without_showing_it(any_server, queue):
    url = f"redis://:secret-guess@127.0.0.1:{urlsplit(any_server.url).port}/0"
    client = connect(url)
    start_s = time.monotonic()
    with pytest.raises(WrongPassword) as caught:
        TaskQueue(client).claim(W1)
    client.close()
    assert time.monotonic() - start_s < 3
    assert "secret-guess" not in str(caught.value)


def test_no_password_where_one_is_needed_is_a_wrong_password(any_server, queue):
    client = connect(f"redis://127.0.0.1:{urlsplit(any_server.url).port}/0")
    with pytest.raises(WrongPassword):
        TaskQueue(client).claim(W1)
    client.close()


def test_a_redis_that_is_not_there_is_told_within_a_second_or_so(unused_port):
    client = connect(f"redis://127.0.0.1:{unused_port}/0")
    start_s = time.monotonic()
    with pytest.raises(RedisUnavailable, match=str(unused_port)):
        TaskQueue(client).claim(W1)
    with pytest.raises(RedisUnavailable):
        Registry(client).workers()
    assert time.monotonic() - start_s < 4
    client.close()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_flushed_scripts_are_sent_again(queue):
    put(queue)
    queue.client.script_flush()
    claim = queue.claim(W1)[0]
    queue.client.script_flush()
    queue.ack(W1, claim)
    assert places(queue.client, ["b:0"]) == {"b:0": "done"}


# Reading


def test_a_task_can_be_looked_up_in_every_state(queue):
    ids = put(queue, 6)
    done, dead, delayed, _leased = queue.claim(W1, 4)
    queue.ack(W1, done)
    queue.fail(W1, dead, "bad", retry=False)
    queue.fail(W1, delayed, "later")
    queue.cancel([ids[4]])
    states = [queue.task(task_id)["state"] for task_id in ids]
    assert states == ["done", "dead", "delayed", "leased", "cancelled", "pending"]
    assert queue.task("nobody") == {}
    depth = queue.depth()
    assert (depth.leased, depth.delayed, depth.dead) == (1, 1, 1)


def test_a_result_that_does_not_exist_is_none(queue):
    assert queue.result("b:0") is None


def test_a_claim_of_an_id_and_token_that_never_were_is_refused(queue):
    put(queue)
    with pytest.raises(LeaseLost):
        queue.ack(W1, Claim("b:0", 999, b""))
    with pytest.raises(LeaseLost):
        queue.fail(W1, Claim("nobody", 1, b""), "?")
    assert places(queue.client, ["b:0"]) == {"b:0": "pending"}
    assert not queue.client.exists("task:nobody")
