"""Histories with known answers: what was run, who lived, how it recovered."""

from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.i18n import use_language
from labkit.measure.events import Event
from labkit.measure.history import runs, story
from labkit.measure.lives import live, lives
from labkit.measure.recovery import recoveries, totals
from labkit.measure.timings import (
    good_window_s,
    images_per_s,
    latencies,
    percentiles,
    shares,
    throughput,
)

EPOCH_S = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _english():
    use_language("en")
    yield
    use_language(None)


def event(at_s: float, kind: str, **fields: object) -> Event:
    return Event(f"{at_s}", EPOCH_S + at_s, kind, {k: str(v) for k, v in fields.items()})


def history(text: str) -> list[Event]:
    """One event a line: "0.5 claimed worker=w1 tasks=b:0,b:1"; a comma is a space."""
    found = []
    for line in text.strip().splitlines():
        at_s, kind, *fields = line.split()
        values = dict(field.replace(",", " ").split("=", 1) for field in fields)
        found.append(event(float(at_s), kind, **values))
    return found


KILLED = history("""
    0    joined worker=w1
    0    joined worker=w2
    1    active worker=w1
    1    active worker=w2
    1    enqueued batch=b count=4
    2    claimed worker=w1 tasks=b:0
    2    claimed worker=w2 tasks=b:1,b:2
    3    done task=b:0 worker=w1 op=edges
    3.25 fault worker=w2 fault=kill
    3.5  requeued task=b:1 worker=w2 reason=killed
    3.5  released worker=w2 tasks=b:2
    3.5  died worker=w2 reason=killed
    4    claimed worker=w1 tasks=b:1,b:2
    5    done task=b:1 worker=w1 op=sharpen
    6    done task=b:2 worker=w1 op=edges
    6.5  fault worker=w2 fault=restart
    6.5  joined worker=w2
    7    active worker=w2
    7    claimed worker=w2 tasks=b:3
    8    done task=b:3 worker=w2 op=edges
""")

PAUSED = history("""
    0   active worker=w1
    0   active worker=w2
    0   enqueued batch=b count=2
    1   claimed worker=w1 tasks=b:0
    2   fault worker=w1 fault=pause
    8   requeued task=b:0 worker=w1 reason=expired
    8.5 claimed worker=w2 tasks=b:0
    9   done task=b:0 worker=w2 op=edges
    10  fault worker=w1 fault=resume
    11  fenced task=b:0 worker=w1
    11  claimed worker=w1 tasks=b:1
    12  done task=b:1 worker=w1 op=edges
""")


def bars(events: list[Event]) -> list[tuple[object, ...]]:
    return [(r.task, r.worker, r.start_s, r.end_s, r.outcome, r.attempt) for r in runs(events)]


def test_a_slice_runs_in_order_and_what_was_given_back_unstarted_is_no_run():
    assert bars(KILLED) == [
        ("b:0", "w1", 2, 3, "done", 1),
        ("b:1", "w2", 2, 3.5, "requeued", 1),
        ("b:1", "w1", 4, 5, "done", 2),
        ("b:2", "w1", 5, 6, "done", 1),
        ("b:3", "w2", 7, 8, "done", 1),
    ]


def test_the_op_of_a_run_in_vain_is_known_from_the_run_that_was_done():
    assert [r.op for r in runs(KILLED) if r.task == "b:1"] == ["sharpen", "sharpen"]


def test_a_fenced_run_ends_when_its_task_was_taken_away():
    assert bars(PAUSED)[0] == ("b:0", "w1", 1, 8, "fenced", 1)


def test_tasks_acknowledged_together_share_their_time():
    events = history("""
        0 claimed worker=w tasks=a:0,a:1,a:2,a:3
        4 done tasks=a:0,a:1,a:2,a:3 worker=w op=noop
    """)
    assert [(r.start_s, r.end_s, r.known_s) for r in runs(events)] == [
        (0, 1, 4),
        (1, 2, 4),
        (2, 3, 4),
        (3, 4, 4),
    ]
    assert latencies(events).tolist() == [4, 4, 4, 4]


def test_only_the_first_task_held_is_running():
    events = history("0 claimed worker=w tasks=a:0,a:1\n2 joined worker=v")
    assert bars(events) == [("a:0", "w", 0, 2, "running", 1)]


def test_a_task_claimed_elsewhere_had_silently_gone_back():
    events = history("""
        0 claimed worker=w tasks=a:0,a:1
        6 requeued task=a:0 worker=w reason=expired
        7 claimed worker=v tasks=a:1
        8 done task=a:1 worker=v op=noop
    """)
    assert bars(events) == [("a:0", "w", 0, 6, "requeued", 1), ("a:1", "v", 7, 8, "done", 1)]


def test_done_without_a_claim_in_sight_still_counts():
    assert bars(history("0 joined worker=w\n1 done task=a:0 worker=w op=noop")) == [
        ("a:0", "w", 1, 1, "done", 1)
    ]


def test_failed_then_dead():
    events = history("""
        0 claimed worker=w tasks=a:0
        1 failed task=a:0 worker=w reason=boom retry_ms=10
        2 claimed worker=w tasks=a:0
        3 dead task=a:0 worker=w reason=boom
    """)
    assert bars(events) == [("a:0", "w", 0, 1, "failed", 1), ("a:0", "w", 2, 3, "dead", 2)]


def test_the_story_of_a_task_whose_worker_was_killed():
    assert story(KILLED, "b:1") == (
        "task b:1: claimed by w2 at 2 s; w2 was killed at 3.25 s; requeued at 3.5 s (killed); "
        "claimed by w1 at 4 s; done at 5 s"
    )


def test_the_story_of_a_zombie():
    assert story(PAUSED, "b:0") == (
        "task b:0: claimed by w1 at 1 s; w1 was paused at 2 s; "
        "requeued at 8 s (its lease ran out); claimed by w2 at 8.5 s; done at 9 s; "
        "w1 was resumed at 10 s; late result of w1 refused at 11 s"
    )


@pytest.mark.parametrize(
    ("cut", "end"),
    [(9, "w2 was killed at 3.25 s; never finished"), (10, "(killed); never claimed again")],
)
def test_a_story_without_an_end_says_so(cut, end):
    assert story(KILLED[:cut], "b:1").endswith(end)


def test_the_story_of_a_task_that_nobody_touched():
    assert story(KILLED, "b:9") == "task b:9: no event mentions it; it was never claimed"
    assert story([], "b:9") == story(KILLED, "b:9")


def test_lives():
    assert [(s.state, s.start_s, s.end_s) for s in lives(KILLED) if s.worker == "w2"] == [
        ("starting", 0, 1),
        ("active", 1, 3.25),
        ("died", 3.25, 6.5),
        ("starting", 6.5, 7),
        ("active", 7, 8),
    ]
    assert [s.state for s in lives(PAUSED) if s.worker == "w1"] == ["active", "paused", "active"]


def test_live_counts_those_that_can_work():
    at_s, counts = live(KILLED)
    assert dict(zip(at_s.tolist(), counts.tolist(), strict=True)) == {0: 0, 1: 2, 3.25: 1, 7: 2}


def test_shares():
    assert [(s.worker, s.done, s.fraction) for s in shares(KILLED)] == [
        ("w1", 3, 0.75),
        ("w2", 1, 0.25),
    ]
    assert [s.done for s in shares(KILLED, start_s=4, end_s=6)] == [2, 0]


def test_workers_come_in_order_of_their_number():
    events = [event(0, "joined", worker=f"worker-{n}") for n in (10, 2, 1)]
    assert [s.worker for s in shares(events)] == ["worker-1", "worker-2", "worker-10"]


def test_latencies_and_their_percentiles():
    assert latencies(KILLED).tolist() == [1, 1, 2, 1]
    assert latencies(KILLED, "enqueued").tolist() == [2, 4, 5, 7]
    marks = percentiles(latencies(KILLED, "enqueued"))
    assert (marks.p50_s, marks.count) == (4.5, 4)
    assert percentiles(latencies([])).count == 0


def test_a_batch_in_several_events_goes_on_counting():
    events = history("""
        0 enqueued batch=b count=1
        2 enqueued batch=b count=1
        3 claimed worker=w tasks=b:0,b:1
        4 done tasks=b:0,b:1 worker=w op=noop
    """)
    assert sorted(latencies(events, "enqueued").tolist()) == [2, 4]


def test_throughput_counts_every_task_once():
    rate = throughput(KILLED, 2)
    assert images_per_s(KILLED) == pytest.approx(4 / 6)
    assert (rate.per_s * rate.window_s).tolist() == pytest.approx([1, 1, 2])
    assert rate.start_s.tolist() == pytest.approx([2, 4, 6])
    assert throughput([]).per_s.size == 0


def test_recovery_from_a_kill():
    (found,) = recoveries(KILLED)
    assert (found.fault, found.worker, found.at_s, found.tasks) == ("kill", "w2", 3.25, ("b:1",))
    assert (found.noticed_s, found.requeued_s, found.rerun_s) == (0.25, 0.25, 0.75)
    assert (found.redone_s, found.back_s, found.first_done_s) == (1.75, 3.75, 4.75)
    assert found.settled


def test_recovery_from_a_pause():
    (found,) = recoveries(PAUSED)
    assert (found.noticed_s, found.rerun_s, found.redone_s) == (6, 6.5, 7)
    assert (found.back_s, found.first_done_s) == (8, 10)


def test_recovery_that_did_not_happen():
    (found,) = recoveries(KILLED[:10])
    assert (found.requeued_s, found.rerun_s, found.redone_s, found.back_s) == (
        0.25,
        None,
        None,
        None,
    )
    assert not found.settled


def steady(gap: tuple[float, float] | None, workers_after: int) -> list[Event]:
    """Two workers, ten tasks a second each; w2 is killed at 10 s, and nothing is done in a gap."""
    events = [event(0, "active", worker=w) for w in ("w1", "w2")]
    events.append(event(0, "claimed", worker="w1", tasks="x:0"))
    for n in range(1, 400):
        at_s = n / 20
        if n == 200:
            events.append(event(10, "fault", worker="w2", fault="kill"))
        quiet = gap is not None and gap[0] < at_s < gap[1]
        if (at_s < 10 or n % 2 < workers_after) and not quiet:
            worker = "w1" if at_s > 10 or n % 2 else "w2"
            events.append(event(at_s, "done", task=f"x:{n}", worker=worker, op="noop"))
    return events


def test_throughput_that_never_fell_below_its_due():
    assert recoveries(steady(None, 1))[0].restored_s == 0


def test_throughput_restored_after_a_gap():
    restored_s = recoveries(steady((10, 14), 1))[0].restored_s
    assert restored_s == pytest.approx(4, abs=good_window_s(steady((10, 14), 1)) / 2)


def test_throughput_never_restored():
    assert recoveries(steady((10, 30), 1))[0].restored_s is None


def test_the_bill():
    assert totals(KILLED[:10]).lost == ("b:1", "b:2", "b:3")
    bill = totals(KILLED)
    assert (bill.redeliveries, bill.fenced, bill.duplicate_effects, bill.lost, bill.dead) == (
        1,
        0,
        0,
        (),
        0,
    )
    assert totals(PAUSED).fenced == 1
    twice = history("0 done task=a:0 worker=w op=x\n1 done task=a:0 worker=v op=x")
    assert totals(twice).duplicate_effects == 1


def test_what_was_called_off_is_not_lost():
    events = history("0 enqueued batch=a count=3\n1 cancelled count=2 tasks=a:1,a:2")
    assert totals(events).lost == ("a:0",)


def test_what_mends_is_no_fault():
    events = history("""
        0 active worker=w
        1 fault worker=w fault=slow
        2 fault worker=w fault=?
        3 fault worker=w fault=disconnect
        4 fault worker=w fault=reconnect
        5 fault worker=w fault=restart
    """)
    events[2].fields["fault"] = "full speed"
    assert [r.fault for r in recoveries(events)] == ["slow", "disconnect", "restart"]
    assert [r.back_s for r in recoveries(events)] == [1, 1, None]


def test_nothing_happened():
    assert runs([]) == lives([]) == recoveries([]) == shares([]) == []
    assert images_per_s([]) == 0
    assert totals([]).lost == ()


TASKS, WORKERS = ("a:0", "a:1", "a:2", "a:3"), ("w", "v")
ANY_EVENT = st.one_of(
    st.builds(
        lambda kind, worker, tasks: (kind, {"worker": worker, "tasks": " ".join(tasks)}),
        st.sampled_from(["claimed", "claimed", "claimed", "done", "released"]),
        st.sampled_from(WORKERS),
        st.lists(st.sampled_from(TASKS), min_size=1, max_size=3, unique=True),
    ),
    st.builds(
        lambda kind, worker, task: (kind, {"worker": worker, "task": task, "reason": "expired"}),
        st.sampled_from(["done", "done", "failed", "dead", "requeued", "fenced"]),
        st.sampled_from(WORKERS),
        st.sampled_from(TASKS),
    ),
    st.builds(
        lambda kind, worker, fault: (kind, {"worker": worker, "fault": fault}),
        st.sampled_from(["fault", "joined", "active", "draining", "left", "died"]),
        st.sampled_from(WORKERS),
        st.sampled_from(["kill", "pause", "resume", "restart"]),
    ),
)
ANY_HISTORY = st.lists(st.tuples(st.integers(0, 50), ANY_EVENT), max_size=40).map(
    lambda steps: [
        event(sum(wait for wait, _ in steps[: i + 1]) / 10, kind, **fields)
        for i, (_wait, (kind, fields)) in enumerate(steps)
    ]
)


@given(ANY_HISTORY)
def test_each_done_is_in_exactly_one_run(events):
    said = Counter((e.worker, t) for e in events if e.kind == "done" for t in e.tasks)
    assert Counter((r.worker, r.task) for r in runs(events) if r.outcome == "done") == said


@given(ANY_HISTORY)
def test_runs_of_one_worker_never_overlap(events):
    own = defaultdict(list)
    for run in runs(events):
        assert run.claimed_s <= run.start_s <= run.end_s <= run.known_s + 1e-9
        own[run.worker].append(run)
    for several in own.values():
        for one, other in pairwise(several):
            assert one.end_s <= other.start_s + 1e-9


@given(ANY_HISTORY)
def test_any_history_at_all_can_be_read(events):
    assert all(span.start_s <= span.end_s for span in lives(events))
    assert all(count >= 0 for count in live(events)[1])
    for found in recoveries(events):
        assert (found.redone_s or 0) >= 0
    assert all(story(events, task).startswith("task") for task in TASKS)
    assert sum(s.done for s in shares(events)) == sum(
        len(e.tasks) for e in events if e.kind == "done"
    )
