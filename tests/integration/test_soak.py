"""The soak in short: a thousand tasks under kills, freezes and the death of Redis.

``make soak`` is the long one; it says what is counted and how.
"""

import pytest

from benchmarks.soak import Soak, passed, plan
from labkit.settings import Settings

# As shipped but faster, so that freezes outlast a lease in seconds; see the soak for max_crashes.
FASTER = Settings(lease_s=2.0, beat_s=0.4, reap_s=0.2, grace_s=3.0, max_crashes=1_000_000)
TASKS = 1000


@pytest.mark.slow
def test_no_task_is_lost_and_none_has_two_effects(seed: int) -> None:
    faults = plan(seed, TASKS, kills=20, freezes=3, redis_kills=1, lease_s=FASTER.lease_s)
    found = Soak(faults, TASKS, seed, workers=4, settings=FASTER).run()
    assert passed(found, len(faults)), f"LABKIT_TEST_SEED={seed}: {found}"


def test_a_plan_can_be_repeated(seed: int) -> None:
    same = [plan(seed, TASKS, kills=20, freezes=3, redis_kills=1, lease_s=2.0) for _ in range(2)]
    assert same[0] == same[1]
    assert len(same[0]) == 24
    assert all(0 <= fault.after < TASKS for fault in same[0])
