"""Tests of the tests: each of these mistakes in the transitions must be caught.

A mutant is the text of one transition with one mistake in it. The text that it replaces must be
there exactly once, so a change of the scripts cannot disarm a mutant unnoticed. Most are caught by
the state machine; those which need a rare order of events name the contract test that catches them.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import redis

from labkit.errors import LabkitError
from labkit.queue import TaskQueue, scripts
from labkit.queue.scripts import Script
from tests.contract import test_queue as contract
from tests.contract import test_queue_states as states


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Attributes:
        script: which transition has it; those that share the mutated text are all changed.
        right: what is replaced.
        wrong: by what.
        caught_by: the contract test that catches it; None for the state machine.
    """

    script: str
    right: str
    wrong: str
    caught_by: Callable[[TaskQueue], None] | None = None


MUTANTS = {
    "ack without a fence": Mutant("ack", "tokens[n] == token and", "true and"),
    "ack that does not end the lease": Mutant("ack", "unlease(ARGV[1], unpack(done))", ""),
    "ack that counts a task twice when it is named twice": Mutant(
        "ack", "and not ended[id]", "", contract.test_an_ack_that_names_a_task_twice_counts_it_once
    ),
    "ack that refuses its own repetition": Mutant(
        "ack", "if seen[1] == 'done' and seen[2] == token then", "if false then"
    ),
    "ack that forgets the result": Mutant("ack", "if result ~= '' then", "if false then"),
    "ack that keeps the task for ever": Mutant("ack", "redis.call('PEXPIRE', key, ARGV[3])", ""),
    "enqueue that does not look whether the task exists": Mutant(
        "enqueue",
        "if redis.call('HSETNX', 'task:' .. ARGV[i], 'body', ARGV[i + 1]) == 1 then",
        "redis.call('HSETNX', 'task:' .. ARGV[i], 'body', ARGV[i + 1]) if true then",
    ),
    "enqueue without a limit": Mutant(
        "enqueue",
        "return {-1, waiting}",
        "",
        contract.test_a_full_queue_refuses_the_whole_call_with_the_figures,
    ),
    "enqueue that lets the counters of its batch expire": Mutant(
        "enqueue",
        "redis.call('PERSIST', 'batch:' .. ARGV[1])",
        "",
        contract.test_tasks_added_to_a_batch_that_was_through_keep_its_counters_alive,
    ),
    "claim without a lease": Mutant("claim", "redis.call('ZADD', KEYS[2], unpack(leases))", ""),
    "claim without an owner": Mutant("claim", "redis.call('HSET', KEYS[3], unpack(owners))", ""),
    "claim that gives the same token twice": Mutant(
        "claim", "token, taken[id] = token + 1, true", "taken[id] = true"
    ),
    "claim that gives out what is leased already": Mutant("claim", "not owned[n] and", ""),
    "claim that gives out what has ended": Mutant(
        "claim", "and (not state or state == 'pending')", ""
    ),
    "claim that stops at a stranger's element": Mutant(
        "claim",
        "bury(id, ARGV[1], 'not the id of a task that labkit enqueued', now)",
        "return {}",
    ),
    "claim that lets one worker hoard": Mutant(
        "claim",
        "if count > 1 then",
        "if false then",
        contract.test_a_worker_gets_its_part_of_what_waits_so_that_none_hoards,
    ),
    "fail without a fence": Mutant(
        "fail", "if redis.call('ZSCORE', KEYS[1], ARGV[2]) ~= ARGV[3] then", "if false then"
    ),
    "fail that does not count tries": Mutant(
        "fail", "allowed < 0 and 'passed' or 'tries', 1)", "'tries', 0)"
    ),
    "fail that does not end the lease": Mutant("fail", "unlease(ARGV[1], ARGV[2])", ""),
    "fail that counts its own repetition": Mutant(
        "fail",
        "if seen[2] == ARGV[3] and seen[1] ~= 'done' then return 1 end",
        "",
        contract.test_a_second_fail_of_the_same_claim_is_harmless_even_when_it_comes_late,
    ),
    "reap that forgets to end the lease": Mutant(
        "reap",
        "local function take_back(id, worker, crashed, reason, max_crashes, now)\n"
        "  unlease(worker, id)",
        "local function take_back(id, worker, crashed, reason, max_crashes, now)",
    ),
    "reap that robs live workers after an outage": Mutant(
        "reap", "if now - last > tonumber(ARGV[2]) then", "if false then"
    ),
    "reap that counts a crash against the whole slice": Mutant(
        "reap", "local was_running = crashed and i == 1", "local was_running = crashed"
    ),
    "reap that loses what is due": Mutant("reap", "redis.call('RPUSH', 'image_tasks', id)", ""),
    "release that ignores which life it speaks for": Mutant(
        "release", "life ~= ARGV[2] then return -1 end", "false then return -1 end"
    ),
    "release that counts a stop as a crash": Mutant("release", "ARGV[4] == '1'", "true"),
    "release that forgets all but the first": Mutant(
        "release", "for i = #held, 1, -1 do", "for i = math.min(1, #held), 1, -1 do"
    ),
    "crashes without an end": Mutant(
        "release",
        "if crashes >= max_crashes then",
        "if false then",
        contract.test_three_crashes_are_a_dead_letter_and_have_nothing_to_do_with_tries,
    ),
    "give back that pushes a dead task again": Mutant(
        "release",
        "times, last time: ' .. reason, now)\n      return",
        "times, last time: ' .. reason, now)",
        contract.test_three_crashes_are_a_dead_letter_and_have_nothing_to_do_with_tries,
    ),
    "register that leaves the last life's tasks with nobody to run them": Mutant(
        "register", "take_all(ARGV[1], true, 'killed', tonumber(ARGV[3]), now)", ""
    ),
    "register that takes a live worker's name": Mutant("register", "    return 0\n", ""),
    "beat that does not renew": Mutant(
        "beat",
        "redis.call('ZADD', KEYS[3], 'XX', now + ARGV[3], held[i])",
        "",
        contract.test_a_beat_renews_what_the_worker_holds_and_nothing_else,
    ),
    "beat that loses the counters": Mutant(
        "beat",
        "redis.call('HGET', 'workers:completed', ARGV[1])",
        "0",
        contract.test_a_beat_creates_a_lost_registry_entry_again_and_keeps_the_counters,
    ),
    "recall that ignores tokens": Mutant(
        "recall",
        "redis.call('ZSCORE', KEYS[1], id) == ARGV[i + 1]",
        "redis.call('ZSCORE', KEYS[1], id)",
        contract.test_recall_takes_back_by_token_so_a_task_that_was_claimed_anew_stays,
    ),
    "recall that takes back what is done": Mutant(
        "recall", "if redis.call('ZSCORE', KEYS[1], id) == ARGV[i + 1] then", "if true then"
    ),
    "cancel that takes a task out of a worker's hands": Mutant(
        "cancel", "and not redis.call('HGET', KEYS[1], id)", ""
    ),
    "cancel that does not count": Mutant(
        "cancel", "finish_in_batch(batch, 'cancelled', 1, ARGV[1])", ""
    ),
    "dead letters without a cap": Mutant(
        "claim",
        "redis.call('LTRIM', 'image_tasks:dead', 0, DEAD_MAX - 1)",
        "",
        contract.test_the_dead_letters_are_capped_and_expire,
    ),
}

EXAMPLES, STEPS = 60, 40  # a correct queue passes hundreds of these in the state machine's own test
CAUGHT = (AssertionError, pytest.fail.Exception, LabkitError, redis.ResponseError)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_this_mistake_is_caught(mutant, server, settings, monkeypatch):
    load, changed = scripts.load, mutated(mutant)
    monkeypatch.setattr(
        scripts, "load", lambda name: changed if name == mutant.script else load(name)
    )
    client = server.client()
    catch = mutant.caught_by or by_the_state_machine
    with pytest.raises(CAUGHT) as caught:
        catch(TaskQueue(client, settings))
    client.close()
    assert "ompil" not in str(caught.value), "this is no mutant but a typing mistake"


def by_the_state_machine(queue):
    states.run(queue.client, examples=EXAMPLES, steps=STEPS, number=7, shrink=False)


def mutated(mutant: Mutant) -> Script:
    script = scripts.load(mutant.script)
    assert script.text.count(mutant.right) == 1, "the text has changed: bring the mutant up to date"
    text = script.text.replace(mutant.right, mutant.wrong)
    return Script(mutant.script, text, hashlib.sha1(text.encode()).hexdigest())
