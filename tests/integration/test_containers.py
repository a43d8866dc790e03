"""What only containers can show: how they are locked up, and the images on their own."""

import contextlib
import gc
import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from labkit.cluster import docker_engine, owner
from labkit.cluster.docker_cluster import DockerCluster
from labkit.cluster.redis_server import RedisServer, free_port
from labkit.connection import connect
from labkit.errors import ClusterError, DockerUnavailable
from labkit.measure import events
from labkit.queue import Registry, TaskQueue
from labkit.settings import Settings
from labkit.task import Work
from tests.helpers import eventually

pytestmark = pytest.mark.docker
QUICK = Settings(lease_s=1.5, beat_s=0.3, reap_s=0.15, grace_s=1.5)


class Heard(DockerCluster):
    """Remembers of whose end it was told, and how it came about."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.ends: list[tuple[str, str]] = []
        super().__init__(*args, **options)

    def _ended(self, worker: str, how: str) -> None:
        self.ends.append((worker, how))
        super()._ended(worker, how)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with DockerCluster(1, settings=QUICK) as cluster:
        cluster.wait_ready()
        yield cluster


@pytest.fixture
def engine() -> Iterator[Any]:
    client = docker_engine.connect()
    yield client
    client.close()


# Locked up.


@pytest.fixture(params=["worker", "redis"])
def inspected(request: pytest.FixtureRequest, cluster: Any) -> Any:
    """What ``docker inspect`` says of a container that runs."""
    worker = cluster.container("worker-1")
    container = worker if request.param == "worker" else cluster.redis.container
    container.reload()
    return container.attrs


def test_containers_may_do_their_work_and_nothing_else(inspected: Any) -> None:
    assert inspected["Config"]["User"] not in ("", "root", "0", "0:0")
    host = inspected["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert "/tmp" in host["Tmpfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"] == 128
    assert 0 < host["Memory"] == host["MemorySwap"]
    assert host["Init"]
    assert host["LogConfig"]["Config"]["max-size"] == "5m"
    assert not any("docker.sock" in mount["Source"] for mount in inspected["Mounts"])
    assert host["PidMode"] == host["UsernsMode"] == ""
    assert host["IpcMode"] == "private"


def test_a_worker_has_half_a_gigabyte_and_one_network(cluster: Any) -> None:
    worker = cluster.container("worker-1")
    worker.reload()
    assert worker.attrs["HostConfig"]["Memory"] == 512 * 2**20
    assert list(worker.attrs["NetworkSettings"]["Networks"]) == [f"labkit-{cluster.session}"]
    assert worker.attrs["Mounts"] == []
    assert any(e.startswith("MALLOC_TOP_PAD_=") for e in worker.attrs["Config"]["Env"])
    assert worker.exec_run(["touch", "/app/x"]).exit_code != 0


def test_there_is_no_way_out(cluster: Any, engine: Any) -> None:
    network = engine.networks.get(f"labkit-{cluster.session}")
    assert network.attrs["Internal"]
    probe = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    assert cluster.container("worker-1").exec_run(["python", "-c", probe]).exit_code != 0


def test_redis_is_for_this_machine_and_those_who_know_its_password(cluster: Any) -> None:
    container = cluster.redis.container
    container.reload()
    (binding,) = container.attrs["NetworkSettings"]["Ports"]["6379/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    password = cluster.redis.url.partition("://:")[2].partition("@")[0]
    assert len(password) >= 16
    assert password not in str(container.attrs)
    stranger = connect(f"redis://127.0.0.1:{binding['HostPort']}/0")
    with pytest.raises(redis.AuthenticationError):
        stranger.ping()
    stranger.close()
    client = cluster.redis.client()
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    client.close()


# Hearing of deaths.


def test_deaths_are_heard_of_while_the_stream_of_events_breaks() -> None:
    with Heard(2, settings=QUICK) as cluster:
        for worker in ("worker-1", "worker-2"):
            container = cluster.container(worker)
            cluster._watch.interrupt()
            container.kill()
        eventually(lambda: cluster.workers() == [], what="both deaths are known")
        eventually(lambda: sorted(cluster.ends) == [("worker-1", "killed"), ("worker-2", "killed")])


def test_how_a_worker_ended_is_told() -> None:
    code = "import os, sys\nif os.environ['WORKER_ID'] == 'worker-1': sys.exit(7)\nb'x' * int(1e9)"
    with Heard(2, settings=QUICK, command=["python", "-c", code]) as cluster:
        expected = [("worker-1", "exited with status 7"), ("worker-2", "out of memory")]
        eventually(lambda: sorted(cluster.ends) == expected)


# Leftovers.


def test_the_next_start_sweeps_what_the_dead_left_and_nothing_else(engine: Any) -> None:
    dead = f"999999999:1@{owner.me().partition('@')[2]}"
    recycled = f"1:1@{owner.me().partition('@')[2]}"  # the number lives, born at another time
    networks = {
        "dead": {"labkit": "t-dead", "labkit.owner": dead},
        "recycled": {"labkit": "t-recycled", "labkit.owner": recycled},
        "alive": {"labkit": "t-alive", "labkit.owner": owner.me()},
        "elsewhere": {"labkit": "t-elsewhere", "labkit.owner": "999999999:1@another-host"},
        "compose": {"labkit": "compose"},
    }
    made = []
    try:
        for name, labels in networks.items():
            made.append(engine.networks.create(f"labkit-test-{name}", labels=labels))
        docker_engine.sweep(engine)
        left = {network.name for network in engine.networks.list(names=["labkit-test-"])}
        assert left == {f"labkit-test-{name}" for name in ("alive", "elsewhere", "compose")}
    finally:
        for network in made:
            with contextlib.suppress(Exception):
                network.remove()


# Another Redis, and none at all.


def test_a_redis_on_this_machine_is_reached_through_the_gateway() -> None:
    with (
        RedisServer(config={"bind": "0.0.0.0"}) as server,
        DockerCluster(1, redis_url=server.url, settings=QUICK) as cluster,
    ):
        cluster.wait_ready()
        assert cluster.redis is None
        assert [worker.id for worker in cluster.registry.workers()] == ["worker-1"]


def test_a_missing_image_says_what_to_run() -> None:
    with pytest.raises(ClusterError, match="make images"):
        DockerCluster(1, image="labkit-that-nobody-built")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_engine_is_said_in_our_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(DockerUnavailable, match="--backend local"):
        DockerCluster(1)
    gc.collect()  # the SDK never closes the socket that found nobody


# The images on their own, with plain testcontainers.


class Stack:
    """One Redis and three workers, held by nobody of ours."""

    def __init__(self, url: str, workers: dict[str, Any]) -> None:
        self.client = connect(url)
        self.workers = workers
        self.queue = TaskQueue(self.client, QUICK)
        self.registry = Registry(self.client, QUICK)

    def ready(self) -> bool:
        return {worker.id for worker in self.registry.alive()} >= set(self.workers) and all(
            worker.status != "starting" for worker in self.registry.alive()
        )

    def run(
        self, batch: str, count: int, seconds: float, during: Any = lambda: None
    ) -> Counter[str]:
        """Do equal tasks. Returns how many each worker did; each task must be done once."""
        after = events.last_id(self.client)
        works = [Work(name="sleep", args={"seconds": seconds})] * count
        ids = self.queue.enqueue(batch, works)
        during()
        eventually(lambda: self.client.hget(f"batch:{batch}", "left") == b"0", 30)
        done = [event for event in events.read(self.client, after) if event.kind == "done"]
        assert sorted(task for event in done for task in event.tasks) == sorted(ids)
        return Counter(event.worker for event in done for _task in event.tasks)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image is in no room of ours
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.network import Network

    with contextlib.ExitStack() as started:
        network = started.enter_context(Network())
        port = free_port()
        server = DockerContainer("labkit-redis").with_network(network).with_network_aliases("redis")
        server.with_command("redis-server --requirepass secret --protected-mode no")
        server.ports["6379/tcp"] = ("127.0.0.1", port)  # its own way would publish to everybody
        started.enter_context(server)
        workers = {}
        for name in ("one", "two", "three"):
            worker = DockerContainer("labkit-worker").with_network(network)
            worker.with_envs(WORKER_ID=name, REDIS_URL="redis://:secret@redis:6379/0")
            worker.with_kwargs(hostname=name).with_envs(**QUICK.to_env())
            workers[name] = started.enter_context(worker)
        stack = Stack(f"redis://:secret@127.0.0.1:{port}/0", workers)
        started.callback(stack.client.close)
        eventually(stack.ready, 30)
        yield stack


def test_load_is_balanced(stack: Stack) -> None:
    eventually(stack.ready, 30)
    done = stack.run("balance", 90, 0.05)
    parts = {name: 100 * done[name] / 90 for name in stack.workers}
    print({name: f"{part:.1f} %" for name, part in parts.items()})
    assert all(abs(part - 100 / 3) <= 8 for part in parts.values()), parts


def test_nothing_is_lost_with_a_container_and_it_comes_back(stack: Stack) -> None:
    eventually(stack.ready, 30)
    victim = stack.workers["two"].get_wrapped_container()
    done = stack.run("fault", 60, 0.1, during=victim.kill)
    assert done["one"] + done["three"] >= 55
    started_s = time.monotonic()
    victim.start()
    eventually(stack.ready, 30)
    assert stack.run("recovery", 30, 0.05)["two"] > 0
    print(f"working again {time.monotonic() - started_s:.1f} s after its restart")


def test_images_are_small_enough(engine: Any) -> None:
    for name, limit_mb in (("labkit-worker", 700), ("labkit-redis", 200)):
        size_mb = engine.images.get(name).attrs["Size"] / 1e6
        print(f"{name}: {size_mb:.0f} MB")
        assert size_mb < limit_mb
