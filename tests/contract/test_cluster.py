"""What every place to run promises: one suite for processes and containers."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from labkit.cluster import docker_engine
from labkit.cluster.cluster import Cluster
from labkit.cluster.docker_cluster import DockerCluster
from labkit.cluster.local_cluster import LocalCluster
from labkit.errors import NoSuchWorker, NotReady, SettingInvalid
from labkit.measure import events
from labkit.measure.events import Event
from labkit.settings import Settings
from labkit.task import Work
from tests.helpers import eventually

QUICK = Settings(lease_s=1.5, beat_s=0.3, reap_s=0.15, grace_s=1.5)
CLASSES: dict[str, Any] = {"local": LocalCluster, "docker": DockerCluster}
PYTHON = {"local": sys.executable, "docker": "python"}
BACKENDS = ["local", pytest.param("docker", marks=pytest.mark.docker)]
NAMES = ["worker-1", "worker-2", "worker-3"]
numbers = itertools.count(1)


class Load:
    """One batch of a test, and what has happened since the test began."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._after = events.last_id(cluster.client)
        self._batch = f"load{next(numbers)}"
        self.ids: list[str] = []

    def add(self, name: str, count: int = 1, **args: Any) -> None:
        works = [Work(name=name, args=args)] * count
        self.ids += self.cluster.queue.enqueue(self._batch, works, first=len(self.ids))

    def events(self, *kinds: str) -> list[Event]:
        seen = events.read(self.cluster.client, self._after)
        return [event for event in seen if event.kind in kinds]

    def holder(self, task: str) -> str:
        """Who has begun a task, once somebody has."""
        claimed = eventually(lambda: [e for e in self.events("claimed") if task in e.tasks])
        return claimed[0].worker

    def wait(self, timeout_s: float = 20.0) -> Counter[str]:
        """Until all is done, each task once. Returns how many each worker did."""
        done = eventually(lambda: self._all_done(), timeout_s, what="all tasks done")
        assert sorted(task for event in done for task in event.tasks) == sorted(self.ids)
        return Counter(event.worker for event in done for _task in event.tasks)

    def _all_done(self) -> list[Event]:
        done = self.events("done")
        return done if sum(len(event.tasks) for event in done) >= len(self.ids) else []


def make(backend: str, workers: int = 0, **options: Any) -> Any:
    return CLASSES[backend](workers, settings=QUICK, **options)


@pytest.fixture(scope="module", params=BACKENDS)
def shared(request: pytest.FixtureRequest) -> Iterator[Any]:
    with make(request.param, 3) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Any) -> Any:
    """Three workers, all well, whatever the test before did to them."""
    well = {worker.id for worker in shared.registry.workers() if worker.alive}
    for name in set(shared.workers()) - well:
        shared.kill(name)
    for name in NAMES:
        shared.start(name)
    shared.scale(3)
    shared.wait_ready()
    return shared


@pytest.fixture
def load(cluster: Any) -> Load:
    return Load(cluster)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# Up and down.


def test_workers_that_are_ready_are_in_the_registry(cluster: Any) -> None:
    assert cluster.workers() == NAMES
    known = {worker.id: worker for worker in cluster.registry.workers()}
    assert set(known) == set(NAMES)
    assert all(known[name].alive and "sharpen" in known[name].capabilities for name in NAMES)


def test_starting_one_that_runs_changes_nothing(cluster: Any, load: Load) -> None:
    assert cluster.start("worker-2") == "worker-2"
    assert cluster.workers() == NAMES
    assert load.events("joined", "left", "died") == []


def test_scaling_up_and_down_keeps_the_lowest_names(cluster: Any, load: Load) -> None:
    assert cluster.scale(4) == [*NAMES, "worker-4"]
    cluster.wait_ready()
    assert cluster.scale(2) == ["worker-1", "worker-2"]
    assert {worker.id for worker in cluster.registry.workers()} == {"worker-1", "worker-2"}
    assert {event.worker for event in load.events("left")} == {"worker-3", "worker-4"}
    assert load.events("died", "requeued") == []
    assert cluster.start() == "worker-3"


def test_a_stopped_worker_finishes_what_it_has_begun(cluster: Any, load: Load) -> None:
    load.add("sleep", seconds=0.8)
    worker = load.holder(load.ids[0])
    cluster.stop(worker)
    assert worker not in cluster.workers()
    assert load.wait() == {worker: 1}
    assert load.events("requeued", "died") == []
    assert "crashes" not in cluster.queue.task(load.ids[0])


def test_a_worker_that_overstays_its_grace_gives_its_task_back(cluster: Any, load: Load) -> None:
    load.add("sleep", seconds=QUICK.grace_s + 1)
    first = load.holder(load.ids[0])
    cluster.stop(first)
    assert load.wait()[first] == 0
    assert load.events("requeued", "died") == []


def test_restart_begins_another_life(cluster: Any, load: Load) -> None:
    before = {worker.id: worker.incarnation for worker in cluster.registry.workers()}
    cluster.restart("worker-2")
    cluster.wait_ready()
    after = {worker.id: worker.incarnation for worker in cluster.registry.workers()}
    assert [name for name in NAMES if before[name] != after[name]] == ["worker-2"]
    assert [event.worker for event in load.events("left")] == ["worker-2"]


# What machines do to workers.


def test_a_killed_workers_task_goes_back_at_once(cluster: Any, load: Load) -> None:
    load.add("sleep", 6, seconds=0.7)
    victim = load.holder(load.ids[0])
    cluster.kill(victim)
    assert victim not in cluster.workers()
    (fault,) = load.events("fault")
    (requeued,) = load.events("requeued")
    assert (requeued.worker, requeued.fields["reason"]) == (victim, "killed")
    assert requeued.at_s - fault.at_s < QUICK.lease_s, "the lease was waited for"
    assert victim not in load.wait()


def test_a_killed_worker_works_again_when_restarted(cluster: Any) -> None:
    cluster.kill("worker-1")
    cluster.restart("worker-1")
    cluster.wait_ready()
    load = Load(cluster)
    load.add("sleep", 12, seconds=0.1)
    assert load.wait()["worker-1"] > 0


def test_a_death_that_nobody_asked_for_is_heard_of(cluster: Any, load: Load) -> None:
    load.add("sleep", seconds=0.5)
    victim = load.holder(load.ids[0])
    if cluster.backend == "docker":
        cluster.container(victim).kill()
    else:
        psutil.Process(cluster.pid(victim)).kill()
    eventually(lambda: victim not in cluster.workers())
    assert victim not in load.wait()
    (died,) = load.events("died")
    assert (died.worker, died.fields["reason"]) == (victim, "killed")


@pytest.mark.parametrize(("cut", "mend"), [("pause", "resume"), ("disconnect", "reconnect")])
def test_a_late_result_is_refused(cluster: Any, load: Load, cut: str, mend: str) -> None:
    load.add("sleep", seconds=0.7)
    (task,) = load.ids
    zombie = load.holder(task)
    getattr(cluster, cut)(zombie)
    try:
        done = load.wait()
        assert zombie not in done, "it was cut off too late for this test"
        (requeued,) = load.events("requeued")
        assert (requeued.worker, requeued.fields["reason"]) == (zombie, "expired")
        assert zombie in cluster.workers(), "it has not ended, it is only silent"
    finally:
        getattr(cluster, mend)(zombie)
    fenced = eventually(lambda: load.events("fenced"), what="the late result was refused")
    assert {(event.worker, event.tasks[0]) for event in fenced} == {(zombie, task)}
    assert load.wait() == done, "one effect"
    cluster.wait_ready(zombie)


@pytest.mark.parametrize("cut", ["pause", "disconnect"])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_worker_that_is_cut_off_can_be_ended(cluster: Any, cut: str, end: str) -> None:
    getattr(cluster, cut)("worker-3")
    getattr(cluster, end)("worker-3")
    assert cluster.workers() == NAMES[:2]
    cluster.start("worker-3")
    cluster.wait_ready()
    load = Load(cluster)
    load.add("sleep", 9, seconds=0.05)
    assert load.wait()["worker-3"] > 0, "its next life has no scars"


def test_a_slow_worker_does_its_share(cluster: Any) -> None:
    cluster.scale(2)  # one a processor
    parts = []
    for share in (0.1, 1.0):
        cluster.slow("worker-2", share)
        load = Load(cluster)
        start_s = time.monotonic()
        load.add("spin", 60, seconds=0.02)
        done = load.wait()
        used_s, waited_s = 0.02 * done["worker-2"], time.monotonic() - start_s
        assert 0 < used_s <= 1.5 * share * waited_s + 0.04
        parts.append(done["worker-2"] / done["worker-1"])
    assert parts[0] < 0.6 < parts[1], parts  # on a busy machine the other one is slow, too


# Looking, and errors.


def test_logs_are_the_end_of_all_lives(cluster: Any) -> None:
    eventually(lambda: "worker-1 starts" in cluster.logs("worker-1", lines=1000))
    lives = cluster.logs("worker-1", lines=1000).count("worker-1 starts")
    cluster.restart("worker-1")
    cluster.wait_ready()
    assert cluster.logs("worker-1", lines=1000).count("worker-1 starts") == lives + 1
    assert len(cluster.logs("worker-1", lines=2).splitlines()) == 2


def test_memory_is_that_of_both_processes(cluster: Any) -> None:
    assert 20 < cluster.memory_mb("worker-1") < 512
    assert cluster.memory_mb("worker-9") == 0


@pytest.mark.parametrize(
    "verb",
    ["stop", "kill", "pause", "resume", "disconnect", "reconnect", "slow", "restart", "logs"],
)
def test_a_worker_that_is_not_there(cluster: Any, verb: str) -> None:
    with pytest.raises(NoSuchWorker, match="worker-9"):
        getattr(cluster, verb)("worker-9")


def test_arguments_that_make_no_sense(cluster: Any) -> None:
    with pytest.raises(SettingInvalid, match="count"):
        cluster.scale(-1)
    for share in (0, 2):
        with pytest.raises(SettingInvalid, match="share"):
            cluster.slow("worker-1", share)
    assert cluster.workers() == NAMES


def test_a_worker_that_does_not_come_up(backend: str) -> None:
    code = "import sys; print('no luck today', flush=True); sys.exit(3)"
    with make(backend, 1, command=[PYTHON[backend], "-c", code]) as cluster:
        with pytest.raises(NotReady, match="no luck today"):
            cluster.wait_ready("worker-1", timeout_s=20)
        eventually(lambda: cluster.workers() == [])


# Nothing is left.


def traces(cluster: Any) -> dict[str, Any]:
    """How to find what a cluster has started."""
    if cluster.backend == "docker":
        return {"session": cluster.session, "pids": [cluster._undertaker.pid]}
    warden = psutil.Process(cluster._warden._process.pid)
    return {"pids": [p.pid for p in (warden, *warden.children(recursive=True))]}


def what_is_left(found: dict[str, Any]) -> list[Any]:
    left: list[Any] = []
    for pid in found["pids"]:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                left.append(pid)
    if "session" in found:
        client, mine = docker_engine.connect(), {"label": f"labkit={found['session']}"}
        left += client.api.containers(all=True, filters=mine)
        left += client.api.networks(filters=mine)
        left += client.api.volumes(filters=mine)["Volumes"] or []
        client.close()
    return left


def test_nothing_outlives_close(backend: str) -> None:
    cluster = make(backend, 1)
    found = traces(cluster)
    assert len(what_is_left(found)) >= 3
    cluster.close()
    assert what_is_left(found) == []
    cluster.close()


def test_nothing_outlives_an_exception(backend: str) -> None:
    with contextlib.suppress(ZeroDivisionError), make(backend, 1) as cluster:
        found = traces(cluster)
        raise ZeroDivisionError
    assert what_is_left(found) == []


# Its forked child has copies of all its pipes, as those of a process pool have.
OWNER = """
import json, os, sys, time
from tests.contract.test_cluster import make, traces
cluster = make(sys.argv[1], 2)
cluster.wait_ready()
child = os.fork()
if child:
    print(json.dumps(traces(cluster) | {"child": child}), flush=True)
time.sleep(60)
"""


def test_nothing_outlives_an_owner_that_was_killed(backend: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", OWNER, backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        found = json.loads(owner.stdout.readline())
        try:
            assert len(what_is_left(found)) >= 4
            owner.kill()
            eventually(lambda: what_is_left(found) == [], timeout_s=30, what="all is gone")
            assert psutil.pid_exists(found["child"])
        finally:
            os.kill(found["child"], signal.SIGKILL)


# Redis.


def test_redis_killed_under_load_loses_and_robs_nothing(cluster: Any, load: Load) -> None:
    load.add("sleep", 40, seconds=0.2)
    eventually(lambda: load.events("done"))
    cluster.redis.kill()
    time.sleep(1.5 * QUICK.lease_s)  # an outage in which every lease runs out
    cluster.redis.start()
    assert set(load.wait()) == set(NAMES)
    assert load.events("requeued", "dead", "died") == []
    assert cluster.workers() == NAMES
