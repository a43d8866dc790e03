"""Huey: BRPOP (its default), one worker thread, no periodic tasks."""

from huey import RedisHuey

from peers import common

huey = RedisHuey("bench", url=common.URL)


@huey.task()
def hello() -> bytes:
    return common.say_hello()


@huey.task()
def noop() -> bytes:
    return common.DONE


@huey.task()
def image(data: bytes) -> bytes:
    return common.filter_image(data)


def greet(count: int) -> None:
    for result in [hello() for _ in range(count)]:
        result.get(blocking=True, backoff=1, max_delay=common.POLL_S)


def noops(count: int) -> None:
    before = huey.result_count()
    for _ in range(count):
        noop()
    common.wait_until(lambda: huey.result_count() >= before + count)


def images(inputs: list[bytes]) -> list[bytes]:
    results = [image(data) for data in inputs]
    return [r.get(blocking=True, backoff=1, max_delay=common.POLL_S) for r in results]


def work() -> None:
    huey.create_consumer(workers=1, worker_type="thread", periodic=False).run()
