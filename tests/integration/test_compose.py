"""The compose file, with the lesson's own commands."""

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labkit.cluster.redis_server import free_port
from labkit.connection import connect
from labkit.demo import photos
from labkit.queue import Registry

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

Run = Callable[..., str]


def compose_command() -> list[str]:
    """Version 2 if it is here, else version 1."""
    found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if found.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("no docker compose here")


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return os.environ | {
        "COMPOSE_PROJECT_NAME": f"labkit-test-{secrets.token_hex(3)}",
        "REDIS_PASSWORD": secrets.token_hex(8),
        "REDIS_PORT": str(free_port()),
        "LABKIT_LANG": "en",
    }


@pytest.fixture(scope="module")
def compose(environment: dict[str, str]) -> Iterator[Run]:
    command = compose_command()

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        run("up", "-d")
        yield run
    finally:
        run("--profile", "extra", "down", "--volumes", "--timeout", "3")


@pytest.fixture(scope="module")
def url(environment: dict[str, str]) -> str:
    return f"redis://:{environment['REDIS_PASSWORD']}@127.0.0.1:{environment['REDIS_PORT']}/0"


def alive(url: str, count: int, within_s: float) -> list[str]:
    """Wait until so many workers are ready; return their names."""
    client = connect(url)
    start_s = time.monotonic()
    try:
        while True:
            names = [w.id for w in Registry(client).workers() if w.status in ("active", "busy")]
            if len(names) == count:
                return names
            assert time.monotonic() - start_s < within_s, f"after {within_s} s: {names}"
            time.sleep(0.1)
    finally:
        client.close()


def labkit(*arguments: str, url: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "labkit.cli", *arguments], env=environment | {"REDIS_URL": url},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_three_workers_come_up_and_the_inspection_commands_answer(
    compose: Run, url: str, environment: dict[str, str]
) -> None:
    assert alive(url, 3, within_s=30) == ["worker-1", "worker-2", "worker-3"]
    assert labkit("redis-cli", "LLEN", "image_tasks", url=url, environment=environment) == (
        "(integer) 0\n"
    )
    workers = labkit("redis-cli", "HGETALL", "workers", url=url, environment=environment)
    assert '"worker-2"' in workers
    assert "last_heartbeat" in workers
    assert "tasks_completed" in workers
    assert "worker-1 starts" in compose("logs", "worker-1")
    inside = compose("exec", "-T", "redis", "redis-cli", "LLEN", "image_tasks")
    assert inside.strip() == "0"


def test_a_folder_is_processed_though_a_worker_stops_and_it_comes_back(
    compose: Run, url: str, environment: dict[str, str], tmp_path: Path
) -> None:
    alive(url, 3, within_s=30)
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for n in range(4):
        for photo in photos.load():
            (folder / f"{photo.name}-{n}.jpg").write_bytes(photo.data)
    compose("stop", "worker-2")
    assert alive(url, 2, within_s=10) == ["worker-1", "worker-3"]
    labkit("process", str(folder), "--out", str(out), url=url, environment=environment)
    assert len(list(out.glob("*.jpg"))) == len(list(folder.glob("*.jpg")))
    started_s = time.monotonic()
    compose("start", "worker-2")
    alive(url, 3, within_s=30)
    print(f"worker-2 back after {time.monotonic() - started_s:.1f} s")


def test_more_workers_than_the_three_that_have_names(compose: Run, url: str) -> None:
    compose("--profile", "extra", "up", "-d", "--scale", "worker=2")
    assert len(set(alive(url, 5, within_s=30))) == 5


def test_what_is_published_listens_on_loopback_only(compose: Run, url: str) -> None:
    ports = subprocess.run(
        ["docker", "inspect", compose("ps", "-q", "redis").strip(), "--format",
         "{{json .HostConfig.PortBindings}}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert '"HostIp":"127.0.0.1"' in ports
    assert "0.0.0.0" not in ports
