"""The batch client on real workers."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from labkit.batch import drill, process
from labkit.cluster.local_cluster import LocalCluster
from labkit.demo import photos
from labkit.errors import InvalidParameter, SettingInvalid, StoreFull, UnknownFilter
from labkit.filters import decode, encode, validate
from labkit.settings import Settings
from labkit.task import Work

FILTERS, PARAMS = ("sharpen", "edges"), {"sharpen": {"intensity": 3}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    settings = Settings(lease_s=0.9, beat_s=0.2, reap_s=0.1, grace_s=2.0, max_backlog=200)
    with LocalCluster(2, settings=settings) as cluster:
        cluster.wait_ready()
        yield cluster


def test_results_are_those_of_one_process_to_the_byte_and_in_order(cluster: LocalCluster) -> None:
    pictures = [photo.data for photo in photos.load()]
    results = list(process(cluster.queue, pictures, FILTERS, PARAMS, in_order=True))
    assert [result.index for result in results] == list(range(len(pictures)))
    for data, result in zip(pictures, results, strict=True):
        image = decode(data, max_bytes=1 << 30, max_pixels=1 << 30)
        assert result.data == encode(validate(FILTERS, PARAMS)(image), "jpg")
        assert result.image().shape == (720, 1280)


def test_a_folder_arrays_paths_and_bytes_all_serve(cluster: LocalCluster, tmp_path: Path) -> None:
    array = np.full((40, 60, 3), 128, np.uint8)
    png = encode(array, "png")
    (tmp_path / "b.png").write_bytes(png)
    (tmp_path / "a.PNG").write_bytes(png)
    (tmp_path / "notes.txt").write_text("not an image")
    by_folder = list(process(cluster.queue, tmp_path, ["blur"], in_order=True, output="png"))
    assert [result.name for result in by_folder] == ["a.PNG", "b.png"]
    mixture = [array, tmp_path / "b.png", str(tmp_path / "a.PNG"), png]
    results = list(process(cluster.queue, mixture, ["blur"], output="png"))
    assert {result.data for result in results} == {by_folder[0].data}


def test_one_bad_item_does_not_lose_the_rest(cluster: LocalCluster, tmp_path: Path) -> None:
    good = encode(np.zeros((8, 8), np.uint8), "png")
    items = [good, b"garbage", tmp_path / "gone.jpg", np.zeros((2, 2), float), good[:-4], good]
    results = list(process(cluster.queue, items, ["blur"], in_order=True))
    assert [result.ok for result in results] == [True, False, False, False, False, True]
    assert "refused" in results[1].error
    assert "FileNotFoundError" in results[2].error
    assert "float64" in results[3].error
    assert len(results) == len(items)


def test_drills_return_what_they_say_and_failures_say_why(cluster: LocalCluster) -> None:
    works = [
        Work(name="echo", args={"text": "hello"}),
        Work(name="dance"),
        Work(name="echo", args={"tempo": 3}),
        Work(name="crash", args={"how": "segfault"}),
    ]
    results = list(drill(cluster.queue, works, in_order=True))
    assert results[0].data == b"hello"
    assert "no work named 'dance'" in results[1].error
    assert "does not take" in results[2].error
    assert "lost its worker 3 times" in results[3].error
    assert "SIGSEGV" in results[3].error


def test_more_than_the_backlog_limit_goes_through_with_back_pressure(
    cluster: LocalCluster,
) -> None:
    deepest = 0
    works = (Work(name="noop") for _ in range(1500))
    for done, _result in enumerate(drill(cluster.queue, works, window=150), 1):
        if done % 100 == 0:
            deepest = max(deepest, cluster.queue.depth().waiting)
    assert done == 1500
    assert deepest <= 150


def test_a_full_queue_is_waited_for_not_failed(cluster: LocalCluster) -> None:
    cluster.queue.enqueue("others", [Work(name="sleep", args={"seconds": 0.005})] * 195)
    results = list(drill(cluster.queue, [Work(name="noop")] * 20))
    assert len(results) == 20
    assert all(result.ok for result in results)


def test_leaving_early_cancels_what_nobody_has_begun(cluster: LocalCluster) -> None:
    works = [Work(name="sleep", args={"seconds": 0.1})] * 100
    for _result in itertools.islice(results := drill(cluster.queue, works), 3):
        pass
    results.close()
    after = list(drill(cluster.queue, [Work(name="echo", args={"text": "next"})]))
    assert after[0].data == b"next"
    assert cluster.queue.depth().waiting == 0


def test_a_worker_killed_in_the_middle_costs_no_result(cluster: LocalCluster) -> None:
    works = [Work(name="sleep", args={"seconds": 0.05})] * 40
    seen = []
    for result in drill(cluster.queue, works):
        seen.append(result.index)
        if len(seen) == 5:
            cluster.kill("worker-1")
            cluster.start("worker-1")
    assert sorted(seen) == list(range(40))


def test_bad_filters_are_refused_before_anything_is_sent(cluster: LocalCluster) -> None:
    before = cluster.client.dbsize()
    with pytest.raises(UnknownFilter):
        next(process(cluster.queue, [b""], ["sharpn"]))
    with pytest.raises(InvalidParameter):
        next(process(cluster.queue, [b""], ["sharpen"], {"sharpen": {"intensity": 99}}))
    with pytest.raises(SettingInvalid):
        next(process(cluster.queue, [b""], ["blur"], window=0))
    assert cluster.client.dbsize() == before


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_without_images_is_an_error_that_names_it(
    cluster: LocalCluster, tmp_path: Path, make: bool
) -> None:
    folder = tmp_path / "photos"
    if make:
        folder.mkdir()
    with pytest.raises(SettingInvalid, match="photos"):
        next(process(cluster.queue, folder, ["blur"]))


def test_redis_out_of_memory_refuses_new_work_clearly_and_finishes_the_old(
    cluster: LocalCluster,
) -> None:
    slow = drill(cluster.queue, [Work(name="sleep", args={"seconds": 0.1})] * 10)
    first = next(slow)
    cluster.client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(StoreFull, match="out of memory"):
            list(process(cluster.queue, [photos.load()[0].data], ["blur"]))
        assert first.ok
        assert all(result.ok for result in slow)
    finally:
        cluster.client.config_set("maxmemory", "2gb")


def test_redis_losing_its_data_is_told_for_each_task() -> None:
    with LocalCluster(1) as cluster:
        cluster.wait_ready()
        results = drill(cluster.queue, [Work(name="sleep", args={"seconds": 0.4})] * 4)
        assert next(results).ok
        cluster.client.flushall()
        rest = list(results)
    assert len(rest) == 3
    assert all("lost its data" in result.error for result in rest if not result.ok)
    assert any(not result.ok for result in rest)


def test_finished_work_leaves_only_keys_that_expire(cluster: LocalCluster) -> None:
    list(process(cluster.queue, [photos.load()[0].data] * 5, ["blur"]))
    kept = {key.decode() for key in cluster.client.scan_iter() if cluster.client.ttl(key) == -1}
    assert not {key for key in kept if key.startswith(("task:", "image:", "result:", "batch:"))}
