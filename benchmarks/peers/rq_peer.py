"""RQ: SimpleWorker, which does not fork for each job; enqueue_many; a short description."""

import redis
from rq import Queue, SimpleWorker

from peers import common

client = redis.Redis.from_url(common.URL)
queue = Queue(connection=client)
CHUNK = 500


def hello() -> bytes:
    return common.say_hello()


def noop() -> bytes:
    return common.DONE


def image(data: bytes) -> bytes:
    return common.filter_image(data)


def _submit(name: str, arguments: list[tuple]) -> list:
    jobs = []
    for start in range(0, len(arguments), CHUNK):
        chunk = [
            Queue.prepare_data(f"peers.rq_peer.{name}", args, description=name)
            for args in arguments[start : start + CHUNK]
        ]
        jobs += queue.enqueue_many(chunk)
    return jobs


def _finished() -> int:
    return client.zcard(queue.finished_job_registry.key)


def _do(name: str, arguments: list[tuple]) -> list:
    before = _finished()
    jobs = _submit(name, arguments)
    common.wait_until(lambda: _finished() >= before + len(jobs))
    return jobs


def greet(count: int) -> None:
    _do("hello", [()] * count)


def noops(count: int) -> None:
    _do("noop", [()] * count)


def images(inputs: list[bytes]) -> list[bytes]:
    return [job.return_value() for job in _do("image", [(data,) for data in inputs])]


def work() -> None:
    worker = SimpleWorker([queue], connection=client)
    worker.log_job_description = False
    worker.work(logging_level="WARNING")
