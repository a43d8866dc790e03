"""Where a Redis comes from: the wheel, else a container, else a clear error."""

import pytest

from labkit.batch import drill
from labkit.cluster import own_redis as module
from labkit.cluster.local_cluster import LocalCluster
from labkit.cluster.own_redis import own_redis
from labkit.errors import ClusterError, DockerUnavailable
from labkit.task import Work


def no_binary() -> str:
    raise ClusterError("No Redis server is installed here.", "", "Install one.")


def test_the_embedded_one_comes_first() -> None:
    with own_redis() as redis:
        assert redis.version().startswith("valkey")


@pytest.mark.docker
def test_without_one_a_container_serves_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_binary", no_binary)
    with LocalCluster(1) as cluster:
        cluster.wait_ready()
        results = list(drill(cluster.queue, [Work(name="echo", args={"text": "hi"})]))
        assert cluster.redis is not None
        assert cluster.redis.version().startswith("redis")
    assert [result.data for result in results] == [b"hi"]


def test_without_either_the_error_says_both(monkeypatch: pytest.MonkeyPatch) -> None:
    from labkit.cluster import docker_engine

    def no_docker() -> None:
        raise DockerUnavailable("no socket")

    monkeypatch.setattr(module, "find_binary", no_binary)
    monkeypatch.setattr(docker_engine, "connect", no_docker)
    with pytest.raises(ClusterError) as caught:
        own_redis()
    assert "No Redis server is installed here." in str(caught.value)
    assert "No Docker engine answers." in str(caught.value)
