"""The command line, as a person types it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit.cluster.redis_server import RedisServer
from labkit.queue import TaskQueue
from labkit.task import Work

LABKIT = [sys.executable, "-m", "labkit.cli"]


def labkit(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    # Wide, so that no sentence is broken where a test looks for it.
    environment = os.environ | {"COLUMNS": "200", "LABKIT_LANG": "en"} | environ
    environment.pop("REDIS_URL", None) if "REDIS_URL" not in environ else None
    return subprocess.run(
        [*LABKIT, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=100
    )


def test_demo_kills_a_worker_and_every_promise_holds(tmp_path: Path, seed: int) -> None:
    run = labkit(
        "demo", "--backend", "local", "--tasks", "150", "--seed", str(seed), "--json", "out.json",
        "--plots", "plots", cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "every promise held" in run.stdout
    assert "is killed" in run.stdout
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["verdict"] == "ok"
    assert (figures["lost"], figures["dead"], figures["wrong"]) == (0, 0, 0)
    assert figures["duplicate_effects"] == 0
    assert figures["done"] == figures["tasks"] >= 150
    assert set(figures["share"]) == {"worker-1", "worker-2", "worker-3"}
    assert sum(figures["share"].values()) == pytest.approx(1, abs=0.01)
    assert figures["seed"] == seed
    assert {p.stem for p in (tmp_path / "plots").glob("*.png")} == {
        "timeline", "throughput", "shares", "latency", "scorecard",
    }  # fmt: skip
    latest = tmp_path / "runs" / "latest"
    assert len(list((latest / "images").glob("*.jpg"))) == 7
    assert (latest / "events.jsonl").exists()


def test_demo_refuses_a_late_result_of_a_frozen_worker(tmp_path: Path, seed: int) -> None:
    run = labkit(
        "demo", "--backend", "local", "--tasks", "100", "--fault", "pause", "--seed", str(seed),
        "--json", "out.json", cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["fenced"] >= 1
    assert figures["redeliveries"] >= 1
    assert figures["kill_to_requeue_s"] <= 8
    assert figures["duplicate_effects"] == 0


def test_demo_works_on_a_folder_of_ones_own_and_says_which_file_failed(tmp_path: Path) -> None:
    from labkit.demo import photos

    folder = tmp_path / "mine"
    folder.mkdir()
    for photo in photos.load()[:2]:
        (folder / f"{photo.name}.jpg").write_bytes(photo.data)
    good = labkit(
        "demo", "--backend", "local", "--images", "mine", "--tasks", "20", "--fault", "none",
        "--workers", "2", "--filters", "resize,blur", cwd=tmp_path,
    )  # fmt: skip
    assert good.returncode == 0, good.stdout + good.stderr
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a photograph")
    bad = labkit(
        "demo", "--backend", "local", "--images", "mine", "--tasks", "21", "--fault", "none",
        "--workers", "1", cwd=tmp_path,
    )  # fmt: skip
    assert bad.returncode == 1
    assert "7 tasks failed" in bad.stdout
    assert "broken promises" in bad.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "nowhere"], "a folder that exists"),
        (["--filters", "sharpn"], "There is no filter named 'sharpn'"),
        (["--workers", "1"], "2 or more, to lose one of them"),
        (["--tasks", "0"], "0 is not in the range"),
        (["--fault", "flood"], "'flood' is not one of"),
    ],
)
def test_demo_says_what_is_wrong_with_an_option(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    run = labkit("demo", "--backend", "local", *arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert said in run.stdout + run.stderr
    assert "Traceback" not in run.stderr


def _mind_ctrl_c() -> None:
    """What a shell starts in the background ignores it, and so would all that comes of it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_demo_interrupted_leaves_nothing_running(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [*LABKIT, "demo", "--backend", "local", "--tasks", "5000", "--fault", "none"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True, preexec_fn=_mind_ctrl_c,
    )  # fmt: skip
    assert demo.stdout is not None
    while "reports for work" not in (line := demo.stdout.readline()):
        assert line, "the demo ended early"
    import psutil

    family = psutil.Process(demo.pid).children(recursive=True)
    assert len(family) >= 3
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=20)
    _gone, alive = psutil.wait_procs(family, timeout=5)
    # Where no init reaps orphans they stay as zombies: ended, but still in the list.
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    assert demo.returncode == 130


def test_redis_runs_in_the_foreground_and_redis_cli_finds_it(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "LABKIT_LANG": "en"}
    environment.pop("REDIS_URL", None)
    server = subprocess.Popen(
        [*LABKIT, "redis"], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip().removeprefix("REDIS_URL=")
        assert url.startswith("redis://:")
        from labkit.connection import connect

        queue = TaskQueue(connect(url))
        queue.enqueue("b", [Work(name="noop")] * 3)
        queue.client.close()

        def ask(*command: str) -> str:
            return labkit("redis-cli", *command, cwd=tmp_path, TMPDIR=str(tmp_path)).stdout

        assert ask("LLEN", "image_tasks") == "(integer) 3\n"
        assert ask("HGETALL", "workers") == "(empty array)\n"
        assert ask("LRANGE", "image_tasks", "0", "0") == '1) "b:0"\n'
        assert ask("PING") == "PONG\n"
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=10) == 0
        assert server.stdout is not None
        server.stdout.close()
    assert not list(tmp_path.glob("labkit-*/redis.url"))
    assert not list(tmp_path.glob("labkit-redis-*"))


def test_redis_cli_says_when_nobody_answers(tmp_path: Path) -> None:
    start_s = time.monotonic()
    run = labkit("redis-cli", "PING", cwd=tmp_path, REDIS_URL="redis://127.0.0.1:1/0")
    assert run.returncode == 3
    assert "Redis does not answer" in run.stderr
    assert time.monotonic() - start_s < 10


def test_redis_cli_says_when_the_password_is_wrong(tmp_path: Path) -> None:
    with RedisServer() as server:
        wrong = server.url.replace("redis://:", "redis://:x")
        run = labkit("redis-cli", "PING", cwd=tmp_path, REDIS_URL=wrong)
    assert run.returncode == 2
    assert "refused the user or the password" in run.stderr
    assert wrong not in run.stderr
