"""Celery: solo pool, no gossip, mingle, heartbeat or remote control; pickle, because of bytes."""

import os
import sys

from celery import Celery

from peers import common

app = Celery("peers.celery_peer", broker=common.URL, backend=common.URL)
app.conf.update(
    task_serializer="pickle",
    result_serializer="pickle",
    accept_content=["pickle"],
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="hello")
def hello() -> bytes:
    return common.say_hello()


@app.task(name="noop")
def noop() -> bytes:
    return common.DONE


@app.task(name="image")
def image(data: bytes) -> bytes:
    return common.filter_image(data)


def greet(count: int) -> None:
    for result in [hello.delay() for _ in range(count)]:
        result.get()


def noops(count: int) -> None:
    redis = app.backend.client
    before = redis.dbsize()
    with app.producer_pool.acquire() as producer:  # one connection for all, not one a task
        for _ in range(count):
            noop.apply_async(producer=producer)
    # A result is a key; a few keys of the broker come and go.
    wanted = before + count - 5
    common.wait_until(lambda: redis.dbsize() >= wanted)


def images(inputs: list[bytes]) -> list[bytes]:
    with app.producer_pool.acquire() as producer:
        results = [image.apply_async((data,), producer=producer) for data in inputs]
    return [result.get() for result in results]


def work() -> None:
    os.environ["C_FORCE_ROOT"] = "1"  # pickle as root: this Redis is ours alone
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
    sys.argv[0] = "celery"
    app.worker_main(["worker", "--pool=solo", *quiet, "--hostname", f"w{os.getpid()}@bench"])
