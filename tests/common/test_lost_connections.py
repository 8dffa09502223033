"""Whatever ends a connection, a client says RedisError and never takes one command's reply for another's."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import uvloop
from redis.asyncio.connection import Connection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from daedalus_common.broker.client import Client, connect
from daedalus_common.broker.connections import honest
from faults.tools.tcp_proxy import TcpProxy
from support.harmed_clients import is_uvloops, run_under, send_much
from support.valkey import ValkeyServer


@pytest.fixture
def proxy(valkey: ValkeyServer, redis_url: str) -> Iterator[TcpProxy]:
    assert redis_url == valkey.url
    with TcpProxy(valkey.port, seed=1) as proxy:
        yield proxy


def test_what_uvloop_says_of_a_reset_connection_is_a_connection_error(proxy: TcpProxy) -> None:
    error = run_under(lambda: connect(f"redis://127.0.0.1:{proxy.port}/0"), send_much, proxy.reset, is_uvloops)
    assert isinstance(error, RedisConnectionError)
    assert "closed" in str(error)


def test_a_connection_that_another_task_closes_meanwhile_is_a_lost_one(valkey: ValkeyServer, redis_url: str) -> None:
    """As a cluster's client closes all connections of a node that does not answer."""

    async def run() -> list[BaseException | None]:
        pool = ConnectionPool(honest(Connection), host="127.0.0.1", port=valkey.port, socket_timeout=5)
        connection = pool.make_connection()
        found: list[BaseException | None] = []
        for _ in range(20):
            sending = asyncio.create_task(connection.send_command("PING"))
            await asyncio.sleep(0)  # it is about to write now, or has written
            await connection.disconnect(nowait=True)
            found += await asyncio.gather(sending, return_exceptions=True)
            await connection.connect()
        await connection.disconnect()
        return found

    assert redis_url == valkey.url
    found = asyncio.run(run())
    assert {type(error) for error in found} <= {type(None), RedisConnectionError}


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_task_that_asks_again_and_again_ends_when_it_is_cancelled_whatever_it_does_just_then(
    redis_url: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def run() -> list[int]:
        client = connect(redis_url)

        async def ask() -> None:
            while True:
                await client.ping()

        unended = []
        for moment in range(100):
            asking = asyncio.create_task(ask())
            for _ in range(moment):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking], timeout=1.0)
            if not asking.done():
                unended.append(moment)
                asking.cancel()
        assert await client.echo("still in step") == b"still in step"
        await client.aclose()
        return unended

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(run()) == []


@pytest.mark.parametrize("fault", ["reset", "truncate", "truncate_requests", "drop_replies", "half_open"])
def test_no_reply_is_ever_taken_for_that_of_another_command(proxy: TcpProxy, valkey: ValkeyServer, fault: str) -> None:
    """Each worker asks for what only it has written, in replies of many chunks."""
    mixed: list[str] = []
    answers = failures = 0
    cuts = iter(range(1, 10_000_000, 977))

    async def ask(client: Client, number: int) -> None:
        nonlocal answers
        pipeline = client.pipeline(transaction=False)
        keys = [f"{number}:{turn}" for turn in range(20)]
        for key in keys:
            pipeline.echo(key + "." * 3000)  # type: ignore[unused-awaitable]
        for key, found in zip(keys, await pipeline.execute(), strict=True):
            answers += 1
            if found != key.encode() + b"." * 3000:
                mixed.append(f"{key}: {found[:20]!r}")

    def harm() -> None:
        proxy.heal()
        time.sleep(0.01)
        if fault.startswith("truncate"):
            getattr(proxy, fault)(next(cuts) % 40_000 + 1)
        else:
            getattr(proxy, fault)()
        time.sleep(0.01)

    def seen(error: RedisError) -> bool:
        nonlocal failures
        failures += 1
        return failures >= 30 and answers >= 2000

    url = f"redis://127.0.0.1:{proxy.port}/0"
    run_under(lambda: connect(url, timeout=timedelta(seconds=0.2)), ask, harm, seen)
    assert mixed == []
