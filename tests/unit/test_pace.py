"""How many tasks a worker takes at once."""

from itertools import pairwise

from labkit.settings import Settings
from labkit.worker.board import MOST
from labkit.worker.runner import Pace


def taught(pace: Pace, task_s: float, slices: int) -> int:
    for _slice in range(slices):
        pace.saw(task_s * pace.count, pace.count)
    return pace.count


def test_the_first_task_is_taken_alone():
    assert Pace(Settings()).count == 1


def test_short_tasks_are_taken_as_many_as_fit_in_the_slice_after_a_while():
    assert taught(Pace(Settings(slice_s=0.002)), 0.0001, 60) in (19, 20)


def test_the_number_at_most_doubles_from_slice_to_slice():
    pace, counts = Pace(Settings()), [1]
    for _slice in range(12):
        counts.append(taught(pace, 1e-6, 1))
    assert all(after <= 2 * before for before, after in pairwise(counts))


def test_there_is_an_upper_end_whatever_the_settings_say():
    assert taught(Pace(Settings(slice_max=8)), 1e-9, 60) == 8
    assert taught(Pace(Settings(slice_max=100_000)), 0.0, 60) == MOST


def test_one_long_task_is_remembered_at_once():
    pace = Pace(Settings())
    assert taught(pace, 1e-5, 60) == 32
    pace.saw(1.0, pace.count)
    assert pace.count == 1


def test_a_long_task_is_forgotten_slowly_so_a_mixed_queue_is_taken_one_by_one():
    pace = Pace(Settings())
    for _round in range(20):
        assert taught(pace, 0.1, 1) == 1
        assert taught(pace, 1e-5, 3) == 1
