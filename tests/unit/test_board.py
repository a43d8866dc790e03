"""The page that runner and supervisor share: what the one writes while the other reads."""

import multiprocessing
import time

import pytest

from labkit.task import Claim
from labkit.worker.board import MOST, SMALL, Board


def claims(count: int, first: int = 0) -> list[Claim]:
    return [Claim(f"b:{n}", 100 + n, b"") for n in range(first, first + count)]


def test_an_idle_runner_shows_nothing():
    board = Board()
    board.clear()
    assert board.running() is None


def test_the_board_shows_what_runs_what_waits_and_what_is_done():
    board = Board()
    board.take(claims(4))
    board.begin(0, 5.0)
    board.finished(0, "blur", b"result")
    board.begin(1, 60.0)
    seen = board.running()
    assert seen.task == ("b:1", 101)
    assert seen.unstarted == [("b:2", 102), ("b:3", 103)]
    assert seen.unsent == [("b:0", 100, "blur", b"result")]
    assert seen.timeout_s == 60.0
    assert 0 <= seen.age_s < 5
    board.sent()
    assert board.running().unsent == []
    board.rest()
    assert board.running() is None


def test_a_slice_that_was_taken_but_not_begun_does_not_inherit_the_age_of_the_last_one():
    board = Board()
    board.take(claims(1))
    board.begin(0, 0.001)
    board.rest()
    time.sleep(0.002)
    board.take(claims(2, first=5))  # an old start and an old limit: as if overrun
    assert board.running() is None
    board.begin(0, 60.0)
    assert board.running().task == ("b:5", 105)
    assert board.running().age_s < 1


def test_a_recalled_slice_begins_nothing_more_but_the_next_one_does():
    board = Board()
    board.take(claims(2))
    assert board.begin(0, 60.0)
    board.recall(board.running().slice_number)
    assert not board.begin(1, 60.0)
    board.rest()
    board.take(claims(2, first=2))
    assert board.begin(0, 60.0)


def test_a_draining_worker_begins_nothing_more_also_after_its_runner_was_replaced():
    board = Board()
    board.drain()
    board.clear()
    assert board.draining
    board.take(claims(1))
    assert not board.begin(0, 60.0)


def test_a_new_runner_is_not_told_of_the_last_ones_recall():
    board = Board()
    board.take(claims(1))
    board.begin(0, 60.0)
    board.recall(board.running().slice_number)
    board.clear()
    again = Board.__new__(Board)
    again.__dict__ = board.__dict__ | {"_slice": 0}
    again.take(claims(1))
    assert again.begin(0, 60.0)


def test_the_largest_slice_with_the_largest_results_fits():
    board = Board()
    long = [Claim(f"{'x' * 200}:{n}", n, b"") for n in range(MOST)]
    board.take(long)
    for n in range(MOST):
        board.begin(n, 60.0)
        if n < MOST - 1:
            board.finished(n, "l" * 256, b"r" * SMALL)
    seen = board.running()
    assert seen.task == (long[-1].id, MOST - 1)
    assert [(i, t) for i, t, _, _ in seen.unsent] == [(c.id, c.token) for c in long[:-1]]
    assert {result for *_, result in seen.unsent} == {b"r" * SMALL}


def test_a_label_that_is_too_long_is_cut_not_refused():
    board = Board()
    board.take(claims(2))
    board.begin(0, 60.0)
    board.finished(0, "x" * 1000, b"")
    assert board.running().unsent[0][2] == "x" * 256


def _write_for(board: Board, seconds: float) -> None:
    """Slices whose ids, tokens, labels and results all say the same number."""
    end_s, number = time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        number += 1
        board.take([Claim(f"{number}:{n}", number * 1000 + n, b"") for n in range(5)])
        for n in range(5):
            board.begin(n, float(number))
            board.finished(n, str(number), f"{number}:{n}".encode() * (1 + number % 7))
            if n == 2:
                board.sent()
        board.sent()
        board.rest()


def test_a_reader_never_sees_a_mixture_of_two_writes():
    board = Board()
    board.clear()
    writer = multiprocessing.get_context("fork").Process(target=_write_for, args=(board, 1.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "ignore")
        writer.start()
    seen = 0
    while writer.is_alive():
        running = board.running()
        if running is None:
            continue
        seen += 1
        number = running.task[0].split(":")[0]
        assert running.timeout_s == float(number)
        assert 0 <= running.age_s < 1
        for task_id, token in [running.task, *running.unstarted]:
            assert task_id == f"{number}:{token % 1000}"
            assert token // 1000 == int(number)
        for task_id, token, label, result in running.unsent:
            assert (label, token // 1000) == (number, int(number))
            assert result == task_id.encode() * (1 + int(number) % 7)
    writer.join()
    assert writer.exitcode == 0
    assert seen > 20
