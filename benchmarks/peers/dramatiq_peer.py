"""Dramatiq: one process with one thread; pickle, because of bytes; results in Redis."""

import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from peers import common

dramatiq.set_encoder(dramatiq.PickleEncoder())
backend = RedisBackend(url=common.URL, encoder=dramatiq.PickleEncoder())
broker = RedisBroker(url=common.URL)
broker.add_middleware(Results(backend=backend))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def hello() -> bytes:
    return common.say_hello()


@dramatiq.actor(store_results=True)
def noop() -> bytes:
    return common.DONE


@dramatiq.actor(store_results=True)
def image(data: bytes) -> bytes:
    return common.filter_image(data)


def greet(count: int) -> None:
    for message in [hello.send() for _ in range(count)]:
        message.get_result(block=True)


def noops(count: int) -> None:
    client = broker.client
    before = client.dbsize()
    for _ in range(count):
        noop.send()
    wanted = before + count - 5  # a result is a key; a few keys of the broker come and go
    common.wait_until(lambda: client.dbsize() >= wanted)


def images(inputs: list[bytes]) -> list[bytes]:
    messages = [image.send(data) for data in inputs]
    return [message.get_result(block=True, timeout=60_000) for message in messages]


def work() -> None:
    from dramatiq.cli import main, make_argument_parser

    options = ["peers.dramatiq_peer", "--processes", "1", "--threads", "1"]
    sys.exit(main(make_argument_parser().parse_args(options)))
