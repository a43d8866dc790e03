"""Taskiq: its stream broker, one process, one task at a time; 32 submits at a time.

A worker reads up to 100 messages at once, which is its default and fast for small tasks; for images
one, or a worker would sit on half of them. Its messages are JSON, so images travel as base64.
"""

import asyncio
import base64
import sys

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from peers import common

AT_ONCE = 32

broker = RedisStreamBroker(
    url=common.URL, xread_count=1 if common.IMAGES else 100, consumer_id="0"
).with_result_backend(RedisAsyncResultBackend(redis_url=common.URL))


@broker.task("hello")
async def hello() -> str:
    return common.say_hello().decode()


@broker.task("noop")
async def noop() -> str:
    return common.DONE.decode()


@broker.task("image")
def image(data: str) -> str:
    return base64.b64encode(common.filter_image(base64.b64decode(data))).decode()


loop = asyncio.new_event_loop()
started = False


async def _do(task: object, arguments: list[tuple]) -> list:
    global started
    if not started:
        await broker.startup()
        started = True
    sent: list = []
    for start in range(0, len(arguments), AT_ONCE):
        chunk = arguments[start : start + AT_ONCE]
        sent += await asyncio.gather(*(task.kiq(*args) for args in chunk))
    return sent


async def _wait(sent: list) -> list:
    return [await task.wait_result(check_interval=common.POLL_S) for task in sent]


def greet(count: int) -> None:
    async def go() -> None:
        await _wait(await _do(hello, [()] * count))

    loop.run_until_complete(go())


async def _noops(count: int) -> None:
    import redis.asyncio as redis

    async with redis.Redis(connection_pool=broker.connection_pool) as client:
        before = await client.dbsize()
        await _do(noop, [()] * count)
        while await client.dbsize() < before + count - 5:  # a result is a key
            await asyncio.sleep(0.002)


def noops(count: int) -> None:
    loop.run_until_complete(_noops(count))


async def _images(inputs: list[bytes]) -> list[bytes]:
    sent = await _do(image, [(base64.b64encode(data).decode(),) for data in inputs])
    return [base64.b64decode(done.return_value) for done in await _wait(sent)]


def images(inputs: list[bytes]) -> list[bytes]:
    return loop.run_until_complete(_images(inputs))


def work() -> None:
    from taskiq.cli.worker.args import WorkerArgs
    from taskiq.cli.worker.run import run_worker

    options = ["peers.taskiq_peer:broker", "--workers", "1", "--max-async-tasks", "1"]
    sys.exit(run_worker(WorkerArgs.from_cli([*options, "--log-level", "WARNING"])))
