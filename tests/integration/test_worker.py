"""Real worker processes, and what the work does to them."""

import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import psutil
import pytest

from labkit.cluster.local_cluster import LocalCluster
from labkit.cluster.redis_server import RedisServer
from labkit.errors import StoreFull
from labkit.queue import Registry, TaskQueue, keys
from labkit.settings import Settings
from labkit.task import Work, digest
from tests.helpers import check_effects, eventually, history, places

FAST = Settings(lease_s=0.9, beat_s=0.2, reap_s=0.1, grace_s=3.0)
LONG_S = 3 * FAST.lease_s
NOOP = Work(name="noop")


def sleep(seconds: float, **fields: float) -> Work:
    return Work(name="sleep", args={"seconds": seconds}, **fields)


def states(queue: TaskQueue, ids: list[str]) -> list[str]:
    return [queue.task(task_id).get("state", "gone") for task_id in ids]


def wait_for(queue: TaskQueue, ids: list[str], state: str = "done", timeout_s: float = 20) -> None:
    eventually(lambda: set(states(queue, ids)) == {state}, timeout_s, what=f"all {state}")


def told(queue: TaskQueue, kind: str, task_id: str) -> list[float]:
    """When something happened to a task."""
    return [event.at_s for event in history(queue.client, kind) if task_id in event.tasks]


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalCluster]:
    """Two workers for all tests that leave them as they found them."""
    with LocalCluster(2, settings=FAST, cuttable=False) as cluster:
        cluster.wait_ready()
        yield cluster


@pytest.fixture
def two(shared: LocalCluster) -> Iterator[LocalCluster]:
    """Two workers, idle; afterwards they are still the same."""
    before = {worker: shared.pid(worker) for worker in shared.workers()}
    yield shared
    assert {worker: shared.pid(worker) for worker in shared.workers()} == before


@pytest.fixture
def batch(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name[5:25]}-{zlib.crc32(request.node.name.encode())}"


# What the work does


def test_a_task_that_holds_the_gil_for_three_leases_keeps_its_lease(two, batch):
    queue = two.queue
    ids = queue.enqueue(batch, [Work(name="hold_gil", args={"seconds": LONG_S})])
    wait_for(queue, ids)
    assert len(told(queue, "claimed", ids[0])) == 1
    assert told(queue, "requeued", ids[0]) == told(queue, "fenced", ids[0]) == []


def test_a_task_past_its_time_is_stopped_and_tried_again_and_then_a_dead_letter(two, batch):
    queue = two.queue
    endless = Work(name="hold_gil", args={"seconds": 600.0}, timeout_s=0.2)
    ids = queue.enqueue(batch, [endless])
    wait_for(queue, ids, "dead")
    known = queue.task(ids[0])
    assert (known["tries"], known.get("crashes")) == ("3", None)
    assert known["error"] == "ran longer than 0.2 s"
    assert len(told(queue, "claimed", ids[0])) == 3


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("segfault", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("kill", "SIGKILL"),
        ("exit", "exited with status 3"),
    ],
)
def test_a_task_that_kills_its_process_harms_nobody_else_and_is_dead_after_three(
    two, batch, how, reason
):
    queue = two.queue
    crash = Work(name="crash", args={"how": how})
    ids = queue.enqueue(batch, [*[NOOP] * 10, crash, *[NOOP] * 10])
    bad, others = ids[10], ids[:10] + ids[11:]
    wait_for(queue, [bad], "dead")
    wait_for(queue, others)
    assert reason in queue.task(bad)["error"]
    assert queue.task(bad)["crashes"] == "3"
    assert [queue.task(task_id).get("crashes") for task_id in others] == [None] * 20
    assert all(told(queue, kind, i) == [] for kind in ("requeued", "fenced") for i in others)
    noticed = zip(told(queue, "claimed", bad), told(queue, "requeued", bad), strict=False)
    assert max(seen - taken for taken, seen in noticed) < 1.0, "a death is known at once"
    check_effects(queue.client, ids, [batch])


def test_nothing_waits_for_a_task_that_turns_out_to_be_long(two, batch):
    queue = two.queue
    wait_for(queue, queue.enqueue(f"{batch}:before", [NOOP] * 3000))  # slices are long now
    ids = queue.enqueue(batch, [*[NOOP] * 10, sleep(4.0), *[NOOP] * 30])
    start_s = time.monotonic()
    short = ids[:10] + ids[11:]
    wait_for(queue, short, timeout_s=3)
    assert time.monotonic() - start_s < 1.5  # 0.1 s where nothing else runs
    assert states(queue, ids[10:11]) == ["leased"]
    assert all(told(queue, "requeued", i) == told(queue, "fenced", i) == [] for i in ids)
    wait_for(queue, ids)
    check_effects(queue.client, ids, [batch])


def _jpeg() -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def _bomb(size_px: int = 20_000) -> bytes:
    """Few bytes that want to be many: a black and white PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        size, check = struct.pack(">I", len(data)), struct.pack(">I", zlib.crc32(kind + data))
        return size + kind + data + check

    header = struct.pack(">IIBBBBB", size_px, size_px, 1, 0, 0, 0, 0)
    data = zlib.compress(bytes((size_px // 8 + 1) * size_px))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


GOOD, CUT, BOMB, TEXT = _jpeg(), _jpeg()[:200], _bomb(), b"<html>no image</html>"


def picture(data: bytes, *filters: str, **params: dict) -> Work:
    return Work(filters=filters or ("blur",), filter_params=params, image=digest(data))


HOPELESS = {
    "unknown work": (Work(name="dig"), "no work named 'dig'"),
    "arguments that it does not take": (Work(name="noop", args={"a": 1}), "does not take"),
    "arguments of the wrong kind": (Work(name="sleep", args={"seconds": "x"}), "does not take"),
    "an unknown filter": (picture(GOOD, "blurr"), "no filter named 'blurr'"),
    "a bad parameter": (picture(GOOD, "blur", blur={"radius": -5}), "blur"),
    "a truncated image": (picture(CUT), "image was refused"),
    "a bomb": (picture(BOMB), "image was refused"),
    "no image": (picture(TEXT), "image was refused"),
    "an image that is gone": (Work(filters=("blur",), image="0" * 32), "no longer in Redis"),
    "no filters' image": (Work(filters=("blur",)), "no longer in Redis"),
}


def test_hopeless_work_is_a_dead_letter_at_the_first_try_with_a_clear_reason(two, batch):
    queue = two.queue
    for data in (GOOD, CUT, BOMB, TEXT):
        queue.put_image(digest(data), data)
    ids = queue.enqueue(batch, [*(work for work, _ in HOPELESS.values()), picture(GOOD)])
    wait_for(queue, ids[:-1], "dead")
    wait_for(queue, ids[-1:])
    for task_id, (_, reason) in zip(ids, HOPELESS.values(), strict=False):
        known = queue.task(task_id)
        assert reason in known["error"]
        assert (known["tries"], known.get("crashes")) == ("1", None)
    assert queue.result(ids[-1]).startswith(b"\xff\xd8")


def test_a_task_that_raises_is_tried_three_times(two, batch):
    queue = two.queue
    ids = queue.enqueue(batch, [Work(name="fail", args={"message": "on purpose"})])
    wait_for(queue, ids, "dead")
    assert queue.task(ids[0])["tries"] == "3"
    assert queue.task(ids[0])["error"] == "RuntimeError: on purpose"


BODIES = {
    "of a new shape": b'{"schema": 2, "name": ["dig", "deep"], "new": true}',
    "of the same shape": b'{"schema": 2, "name": "noop"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_newer_body_is_left_for_a_newer_worker(two, batch, body):
    queue = two.queue
    queue.call("enqueue", [keys.PENDING], [batch, 100, f"{batch}:0", body])
    eventually(lambda: told(queue, "failed", f"{batch}:0"))
    known = queue.task(f"{batch}:0")
    assert known["state"] in ("delayed", "pending", "leased")
    assert known.get("tries") is None, "it was not tried, so its tries are left for who can"
    assert told(queue, "dead", f"{batch}:0") == []
    queue.client.delete(keys.task(f"{batch}:0"))
    queue.client.zrem(keys.DELAYED, f"{batch}:0")


UNREADABLE = {
    "malformed JSON": b"{bad",
    "no UTF-8": b'{"name": "\xff"}',
    "a deep hole": b'{"args": ' + b"[" * 100_000,
    "an unknown field": b'{"name": "noop", "retries": 3}',
}


def test_a_body_that_cannot_be_read_is_a_dead_letter_and_the_runner_lives(two, batch):
    queue, runners = two.queue, _runners(two)
    ids = [f"{batch}:{n}" for n in range(len(UNREADABLE))]
    pairs = [part for pair in zip(ids, UNREADABLE.values(), strict=True) for part in pair]
    queue.call("enqueue", [keys.PENDING], [batch, 100, *pairs])
    wait_for(queue, ids, "dead")
    assert all(queue.task(task_id)["tries"] == "1" for task_id in ids)
    assert _runners(two) == runners


def test_strangers_elements_do_not_stop_the_loop(two, batch):
    queue, runners = two.queue, _runners(two)
    queue.client.rpush("image_tasks", b'{"id": "t1", "image": "a.jpg"}', b"\x00\xff", b"")
    queue.client.hset(keys.WORKERS, "worker-1", "{bad")
    wait_for(queue, queue.enqueue(batch, [NOOP] * 10))
    eventually(lambda: [w.status for w in Registry(queue.client, FAST).workers()] == ["active"] * 2)
    assert _runners(two) == runners


def _runners(cluster: LocalCluster) -> list[int]:
    pids = [cluster.pid(worker) for worker in cluster.workers()]
    return [child.pid for pid in pids for child in psutil.Process(pid).children()]


# What happens to Redis


@pytest.fixture
def own() -> Iterator[LocalCluster]:
    """Two workers and a Redis of their own, to be ill-treated."""
    with LocalCluster(2, settings=FAST, cuttable=False) as cluster:
        cluster.wait_ready()
        yield cluster


def ride_out(cluster: LocalCluster, down, up, outage_s: float) -> None:
    """One task ends while Redis is away, one runs through all of it."""
    queue = cluster.queue
    ids = queue.enqueue("b", [sleep(0.5), sleep(outage_s + 1.0)])
    wait_for(queue, ids, "leased")
    down()
    time.sleep(outage_s)  # the outage itself: there is nothing to poll
    up()
    again = queue.enqueue("after", [NOOP] * 5)
    wait_for(queue, ids + again)
    for task_id in ids:
        assert len(told(queue, "claimed", task_id)) == 1, "its result was lost, or it was robbed"
    assert history(queue.client, "requeued", "died", "fenced") == []
    check_effects(queue.client, ids + again, ["b", "after"])
    eventually(lambda: len(cluster.registry.alive()) == 2)


def test_redis_killed_for_three_leases_costs_no_task_and_no_result(own):
    pids = [own.pid(worker) for worker in own.workers()]
    ride_out(own, own.redis.kill, own.redis.start, LONG_S)
    assert [own.pid(worker) for worker in own.workers()] == pids


def test_redis_frozen_for_longer_than_anybody_waits_for_an_answer_costs_nothing(own):
    ride_out(own, own.redis.pause, own.redis.resume, 3.5)


def test_workers_finish_what_was_accepted_when_redis_runs_out_of_memory(own):
    queue = own.queue
    ids = queue.enqueue("b", [sleep(0.02)] * 60)
    eventually(lambda: told(queue, "done", ids[0]))
    queue.client.config_set("maxmemory", "1mb")
    with pytest.raises(StoreFull):
        queue.enqueue("c", [NOOP])
    wait_for(queue, ids)
    queue.client.config_set("maxmemory", 0)
    wait_for(queue, queue.enqueue("c", [NOOP]))
    assert history(queue.client, "requeued", "died", "fenced") == []


def test_flushed_scripts_are_loaded_again(own):
    queue = own.queue
    for n in range(3):
        queue.client.script_flush()
        wait_for(queue, queue.enqueue(f"b{n}", [NOOP] * 20))
    assert history(queue.client, "requeued", "died", "fenced") == []


# A worker as a process of its own


class Worker:
    """``python -m labkit.worker`` and what it says."""

    def __init__(self, url: str, name: str = "w", settings: Settings = FAST, **environ: str):
        env = os.environ | settings.to_env() | {"REDIS_URL": url, "WORKER_ID": name} | environ
        command = [sys.executable, "-m", "labkit.worker"]
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def ready(self, registry: Registry) -> None:
        pid = self.process.pid
        eventually(lambda: any(w.pid == pid and w.status == "active" for w in registry.workers()))

    def end(self, timeout_s: float = 10) -> tuple[int, str]:
        """Wait for it; its exit status and what it said."""
        _, said = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, said


@pytest.fixture
def launch(server: RedisServer) -> Iterator:
    started: list[Worker] = []

    def start(*args, ready: bool = True, url: str = "", **kwargs) -> Worker:
        worker = Worker(url or server.url, *args, **kwargs)
        started.append(worker)
        if ready:
            client = server.client()
            worker.ready(Registry(client))
            client.close()
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.communicate()


@pytest.fixture
def fast(server: RedisServer) -> Iterator[TaskQueue]:
    client = server.client()
    yield TaskQueue(client, FAST)
    client.close()


def test_sigterm_lets_the_task_in_hand_finish_and_leaves_in_good_order(fast, launch):
    worker = launch()
    ids = fast.enqueue("b", [sleep(1.0), sleep(1.0)])
    wait_for(fast, ids[:1], "leased")
    worker.process.send_signal(signal.SIGTERM)
    status, said = worker.end()
    assert status == 0, said
    assert "Traceback" not in said
    assert states(fast, ids) == ["done", "pending"]
    assert fast.task(ids[1]).get("crashes") is None
    assert history(fast.client, "requeued", "died", "fenced") == []
    kinds = [event.kind for event in history(fast.client)]
    assert kinds[-1] == "left"
    assert "draining" in kinds
    assert not fast.client.hexists(keys.WORKERS, "w")
    places(fast.client, ids)


def test_sigterm_gives_back_uncounted_what_takes_longer_than_the_grace(fast, launch):
    worker = launch(settings=Settings(lease_s=0.9, beat_s=0.2, reap_s=0.1, grace_s=0.4))
    ids = fast.enqueue("b", [sleep(60.0)])
    wait_for(fast, ids, "leased")
    start_s = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    status, said = worker.end()
    assert status == 0, said
    assert 0.4 <= time.monotonic() - start_s < 3
    assert places(fast.client, ids) == {ids[0]: "pending"}
    known = fast.task(ids[0])
    assert (known.get("crashes"), known.get("tries")) == (None, None)


def test_an_idle_worker_leaves_at_once(fast, launch):
    worker = launch()
    start_s = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end()[0] == 0
    assert time.monotonic() - start_s < 1.5


def test_a_worker_under_load_leaves_without_losing_or_repeating_anything(fast, launch):
    worker = launch()
    ids = fast.enqueue("b", [NOOP] * 5000)
    eventually(lambda: told(fast, "done", ids[100]))
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end()[0] == 0
    assert set(places(fast.client, ids).values()) <= {"done", "pending"}
    assert history(fast.client, "requeued", "died", "fenced") == []
    check_effects(fast.client, ids, ["b"])


def test_a_wrong_password_ends_the_worker_with_a_message_that_does_not_show_it(fast, launch):
    url = fast.url.replace("redis://", "redis://:not-it@")
    status, said = launch(url=url, ready=False).end()
    assert status != 0
    assert "WrongPassword" in said
    assert "REDIS_URL" in said
    assert "not-it" not in said
    assert "Traceback" not in said


def test_a_setting_that_makes_no_sense_ends_the_worker_with_a_message(fast, launch):
    status, said = launch(ready=False, LABKIT_LEASE_S="soon").end()
    assert status != 0
    assert "LABKIT_LEASE_S" in said
    assert "Traceback" not in said


def test_a_worker_without_redis_waits_for_it_and_can_be_stopped(fast, launch):
    worker = launch(url="redis://127.0.0.1:1/0", ready=False)
    said = [worker.process.stderr.readline() for _ in range(3)]  # it says so more than once
    assert "Redis does not answer" in said[-1]
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end()[0] == 0


def test_two_workers_of_one_name_on_one_host_lose_nothing_and_repeat_no_effect(fast, launch):
    launch("twin")
    launch("twin")
    ids = fast.enqueue("b", [sleep(0.01)] * 100)
    wait_for(fast, ids)
    assert set(places(fast.client, ids).values()) == {"done"}
    check_effects(fast.client, ids, ["b"])


def test_a_runner_does_not_outlive_its_supervisor(fast, launch):
    worker = launch()
    (runner,) = psutil.Process(worker.process.pid).children()
    ids = fast.enqueue("b", [sleep(60.0)])
    wait_for(fast, ids, "leased")
    worker.process.kill()
    eventually(lambda: not runner.is_running() or runner.status() == "zombie", 2)
    eventually(lambda: fast.reap() >= 0 and states(fast, ids) == ["pending"], 5)
    assert fast.task(ids[0])["crashes"] == "1"


def test_the_health_check_follows_the_beats(fast, launch, tmp_path):
    beat_file = tmp_path / "beat"
    env = os.environ | FAST.to_env() | {"LABKIT_BEAT_FILE": str(beat_file)}

    def healthy() -> bool:
        command = [sys.executable, "-m", "labkit.worker", "--health"]
        return subprocess.run(command, env=env, check=False, timeout=10).returncode == 0

    assert not healthy(), "before there was a beat"
    worker = launch(LABKIT_BEAT_FILE=str(beat_file))
    assert healthy()
    fast.enqueue("b", [Work(name="hold_gil", args={"seconds": 1.5})])
    eventually(lambda: fast.depth().leased == 1)
    assert healthy(), "busy is not ill"
    worker.process.kill()
    eventually(lambda: not healthy(), 10)
    beat_file.write_text("no number")
    assert not healthy()
    env.pop("LABKIT_BEAT_FILE")
    assert not healthy()


def test_the_health_check_fails_when_redis_is_gone(launch, tmp_path):
    beat_file = tmp_path / "beat"
    with RedisServer() as redis:
        client = redis.client()
        worker = launch(url=redis.url, ready=False, LABKIT_BEAT_FILE=str(beat_file))
        worker.ready(Registry(client))
        client.close()
        redis.kill()
        before = beat_file.read_text()
        eventually(lambda: time.monotonic() - float(before) > FAST.lease_s)
        assert beat_file.read_text() == before
        worker.process.send_signal(signal.SIGTERM)
        status, said = worker.end(20)
    assert status == 0, said


def test_a_claim_whose_answer_was_lost_is_given_back_by_the_worker_itself(
    two: LocalCluster,
) -> None:
    """Redis believes that worker-1 holds the task; its beats would renew it for ever."""
    pause = [sleep(2 * FAST.lease_s) for _ in two.workers()]
    busy = two.queue.enqueue("busy-d1", pause)
    wait_for(two.queue, busy, "leased")
    lost = two.queue.enqueue("lost-d1", [NOOP])
    assert [claim.id for claim in two.queue.claim("worker-1")] == lost
    wait_for(two.queue, [*busy, *lost], timeout_s=6 * FAST.lease_s)
    assert not told(two.queue, "requeued", lost[0])  # it had not run, so it counts no crash
