"""Die, or lose the connection, before and after every single step of a runner.

A run is rehearsed once to count its steps: each command sent, each answer read, each task's work
begun and ended. Then it is repeated with the fault at each of them in turn: the process is killed,
as if by a power cut, or the connection is cut so that an answer is lost. Whatever the place, no
task may be lost and each must have its effect exactly once.
"""

import os
import signal
import socket
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from labkit.queue import Lane, TaskQueue, keys
from labkit.settings import Settings
from labkit.task import Work
from labkit.worker.board import Board
from labkit.worker.runner import Runner
from tests.helpers import check_effects, end_delays, eventually, history, places, reap_expired

TUNED = Settings(lease_s=0.9, beat_s=0.2, reap_s=0.1, max_crashes=100)
LIFE = "life-1"
NAMES = ("good", "good", "bad", "good", "big", "good")  # the first fails once, see do()
Fault = Callable[["Stage"], None]


class Stage:
    """Counts the steps, and lets a fault happen at one of them."""

    def __init__(self, at: int = -1, fault: Fault = lambda stage: None) -> None:
        self.at, self.fault, self.steps = at, fault, []
        self.connection: Any = None

    def step(self, what: str) -> None:
        self.steps.append(what)
        if len(self.steps) - 1 == self.at:
            self.fault(self)


class Wire:
    """A connection whose every use is a step."""

    def __init__(self, connection: Any, stage: Stage) -> None:
        self.connection, self.stage = connection, stage

    def send_command(self, *command: Any) -> None:
        self.stage.step(f"before sending {command[0]}")
        self.connection.send_command(*command)
        self.stage.step(f"after sending {command[0]}")

    def pack_commands(self, commands: list[Any]) -> Any:
        return self.connection.pack_commands(commands)

    def send_packed_command(self, packed: list[bytes]) -> None:
        count = packed[0].count(b"EVALSHA")
        self.stage.step(f"before sending {count}")
        self.connection.send_packed_command(packed)
        self.stage.step(f"after sending {count}")

    def read_response(self) -> Any:
        answer = self.connection.read_response()
        self.stage.step("after reading an answer")
        return answer

    def disconnect(self) -> None:
        self.connection.disconnect()


class WatchedLane(Lane):
    """A lane on such a wire."""

    def __init__(self, url: str, worker: str, stage: Stage) -> None:
        super().__init__(url, worker, LIFE, TUNED)
        self._stage = stage

    def _open(self) -> Any:
        if self._connection is None:
            self._stage.connection = super()._open()
            self._connection = Wire(self._stage.connection, self._stage)
        return self._connection

    def _drop(self) -> None:
        if isinstance(self._connection, Wire):
            self._connection = self._connection.connection
        super()._drop()


def kill(stage: Stage) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def cut(stage: Stage) -> None:
    """What was sent is on its way; what will be answered is lost."""
    with suppress(OSError):
        stage.connection._sock.shutdown(socket.SHUT_RDWR)


def work_until_done(url: str, worker: str, stage: Stage) -> None:
    """Be a runner until all that waits is done."""
    lane, board = WatchedLane(url, worker, stage), Board()

    def do(work: Work, fetch: Callable[[str], bytes]) -> bytes:
        stage.step("before work")
        if work.name == "bad":
            raise RuntimeError("on purpose")
        result = b"x" * 1000 if work.name == "big" else work.name.encode()
        stage.step("after work")
        return result

    def wait(seconds: float) -> None:
        board.drain()  # nothing waits any more

    lane.wait = wait
    Runner(lane, board, do, TUNED).run()


def in_a_process(run: Callable[[], None]) -> int:
    """Run it in a child; its status as waitpid has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads: they are not needed
        pid = os.fork()
    if pid == 0:
        try:
            run()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def prepare(queue: TaskQueue) -> list[str]:
    """Tasks, and a worker that is registered as the supervisor would."""
    queue.client.flushdb()
    entry = f'{{"id": "w", "incarnation": "{LIFE}", "host": "h", "status": "active"}}'
    names = [keys.WORKERS, keys.BEATS]
    queue.call("register", names, ["w", entry, TUNED.max_crashes, 3000])
    return queue.enqueue("b", [Work(name=name) for name in NAMES])


def released(queue: TaskQueue) -> None:
    """The death was seen."""
    queue.release("w", incarnation=LIFE, died="killed", status="dead")


def run_out(queue: TaskQueue) -> None:
    """Nobody saw it: supervisor and all are gone."""
    reap_expired(queue)


def finish(queue: TaskQueue, url: str, ids: list[str]) -> None:
    """Another worker does the rest; "bad" is bad three times."""
    for _try in range(10):
        end_delays(queue.client)
        queue.reap()
        work_until_done(url, "other", Stage())
        if queue.depth().delayed == 0:
            break
    ended = ["dead" if name == "bad" else "done" for name in NAMES]
    assert places(queue.client, ids) == dict(zip(ids, ended, strict=True))
    check_effects(queue.client, ids, ["b"])
    results = [queue.result(task_id) for task_id in ids]
    assert results == [b"good", b"good", None, b"good", b"x" * 1000, b"good"]
    assert queue.task(ids[2])["tries"] == "3"
    assert queue.client.hget(keys.batch("b"), "left") == b"0"


def rehearsal(queue: TaskQueue, url: str) -> list[str]:
    prepare(queue)
    stage = Stage()
    work_until_done(url, "w", stage)
    return stage.steps


@pytest.fixture
def tuned(server):
    client = server.client()
    yield TaskQueue(client, TUNED)
    client.close()


def test_a_run_has_all_the_steps_that_the_others_stop_at(tuned, server):
    steps = rehearsal(tuned, server.url)
    assert steps.count("before work") == len(NAMES)
    sent = sum(int(step.split()[-1]) for step in steps if step.startswith("before sending"))
    assert sent == steps.count("after reading an answer")
    assert len(steps) > 30


@pytest.mark.parametrize("noticed", [released, run_out], ids=["death seen", "lease ran out"])
def test_killed_at_any_step_nothing_is_lost_and_each_effect_happens_once(tuned, server, noticed):
    for at, step in enumerate(rehearsal(tuned, server.url)):
        print(f"killed at step {at}, {step}")
        ids = prepare(tuned)
        stage = Stage(at, kill)
        status = in_a_process(lambda stage=stage: work_until_done(server.url, "w", stage))
        assert os.WIFSIGNALED(status), "it was to be killed"
        # What it had sent is the server's business now: wait until the server has seen it go.
        eventually(lambda: len(tuned.client.client_list()) == 1, what="the server sees it go")
        noticed(tuned)
        assert set(places(tuned.client, ids).values()) <= {"pending", "done", "delayed", "dead"}
        finish(tuned, server.url, ids)


def test_cut_off_at_any_step_the_runner_comes_back_and_finishes_by_itself(tuned, server):
    for at, step in enumerate(rehearsal(tuned, server.url)):
        print(f"cut off at step {at}, {step}")
        ids = prepare(tuned)
        stage = Stage(at, cut)
        work_until_done(server.url, "w", stage)
        left = set(places(tuned.client, ids).values())
        assert left <= {"done", "delayed"}, f"it left {left}"
        assert history(tuned.client, "requeued") == [], "a cut is no crash"
        assert stage.steps.count("before work") == len(NAMES), "work that was done was done again"
        finish(tuned, server.url, ids)


def test_cut_off_at_any_two_steps_in_a_row_it_comes_back_as_well(tuned, server):
    for at in range(0, len(rehearsal(tuned, server.url)), 3):
        print(f"cut off at step {at} and two later")
        ids = prepare(tuned)
        stage = Stage(at, cut)

        def again(stage: Stage) -> None:
            cut(stage)
            stage.at, stage.fault = len(stage.steps) + 1, cut

        stage.fault = again
        work_until_done(server.url, "w", stage)
        assert set(places(tuned.client, ids).values()) <= {"done", "delayed"}
        finish(tuned, server.url, ids)


def test_an_answer_that_was_lost_makes_no_work_that_was_done_be_done_again(tuned, server):
    """The ack went through; only its answer did not. It is sent again, and is harmless."""
    steps = rehearsal(tuned, server.url)
    at = max(n for n, step in enumerate(steps) if step.startswith("after sending"))
    ids = prepare(tuned)
    work_until_done(server.url, "w", Stage(at, cut))
    claimed = [name for event in history(tuned.client, "claimed") for name in event.tasks]
    assert sorted(claimed) == sorted(ids)
    assert history(tuned.client, "fenced") == []
