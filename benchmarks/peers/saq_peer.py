"""SAQ: concurrency 1; submits 32 at a time; pickle, because of bytes."""

import asyncio
import pickle

from saq import Queue, Worker

from peers import common

AT_ONCE = 32


def make_queue() -> Queue:
    return Queue.from_url(common.URL, dump=pickle.dumps, load=pickle.loads)


async def hello(context: dict) -> bytes:
    return common.say_hello()


async def noop(context: dict) -> bytes:
    return common.DONE


async def image(context: dict, *, data: bytes) -> bytes:
    return common.filter_image(data)


loop = asyncio.new_event_loop()
queue = make_queue()


async def _do(name: str, arguments: list[dict]) -> list:
    jobs: list = []
    for start in range(0, len(arguments), AT_ONCE):
        chunk = arguments[start : start + AT_ONCE]
        jobs += await asyncio.gather(*(queue.enqueue(name, timeout=60, **args) for args in chunk))
    while await queue.count("incomplete"):
        await asyncio.sleep(0.002)
    return jobs


def greet(count: int) -> None:
    loop.run_until_complete(_do("hello", [{}] * count))


def noops(count: int) -> None:
    loop.run_until_complete(_do("noop", [{}] * count))


async def _images(inputs: list[bytes]) -> list[bytes]:
    jobs = await _do("image", [{"data": data} for data in inputs])
    for job in jobs:
        await job.refresh()
    return [job.result for job in jobs]


def images(inputs: list[bytes]) -> list[bytes]:
    return loop.run_until_complete(_images(inputs))


async def main() -> None:
    await Worker(make_queue(), [hello, noop, image], concurrency=1).start()


def work() -> None:
    asyncio.run(main())
