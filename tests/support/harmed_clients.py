"""Clients of Redis that work side by side on uvloop, as services do, while somebody does them harm."""

import asyncio
from collections.abc import Awaitable, Callable

import uvloop
from redis.exceptions import RedisError

from daedalus_common.broker.client import Client

WITHIN_SECONDS = 60.0
PAYLOAD = b"x" * 200_000
WORKERS = 6

Work = Callable[[Client, int], Awaitable[None]]


def run_under(
    client_of: Callable[[], Client],
    work: Work,
    harm: Callable[[], None],
    seen: Callable[[RedisError], bool],
) -> RedisError:
    """Works while `harm` is done again and again, until an error is `seen`; returns that. No other may come."""

    async def run() -> RedisError:
        client = client_of()
        found: asyncio.Future[RedisError] = asyncio.get_running_loop().create_future()

        async def worker(number: int) -> None:
            while not found.done():
                try:
                    await work(client, number)
                except RedisError as error:
                    if seen(error) and not found.done():
                        found.set_result(error)
                    await asyncio.sleep(0.001)

        async def harmer() -> None:
            while not found.done():
                await asyncio.to_thread(harm)
                await asyncio.sleep(0.02)

        try:
            async with asyncio.timeout(WITHIN_SECONDS), asyncio.TaskGroup() as group:
                group.create_task(harmer())
                for number in range(WORKERS):
                    group.create_task(worker(number))
        finally:
            await client.aclose()
        return found.result()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


async def send_much(client: Client, number: int) -> None:
    """Twice, so that one is often under way when the connection is reset."""
    pipeline = client.pipeline(transaction=False)
    for turn in range(10):
        pipeline.set(f"{{k{number}}}:{turn}", PAYLOAD)  # type: ignore[unused-awaitable]
    await pipeline.execute()
    await client.set(f"{{k{number}}}", PAYLOAD)


def is_uvloops(error: BaseException) -> bool:
    """RuntimeError of a closed transport, or the writer that another task has closed meanwhile."""
    return isinstance(error.__cause__, RuntimeError | AttributeError)
