"""A running simulator, raw websocket clients and ccxt clients for it."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import ccxt.pro
import orjson

from daedalus_simulator.__main__ import Ready, serve
from daedalus_simulator.settings import parse_arguments

READY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulator that is serving."""

    url: str
    ws_url: str
    ready: dict[str, Any]
    session: aiohttp.ClientSession

    @classmethod
    def of(cls, ready: dict[str, Any], session: aiohttp.ClientSession) -> "Simulator":
        return cls(ready["url"], ready["ws_url"], ready, session)

    async def get(self, path: str, **query: Any) -> Any:
        async with self.session.get(self.url + path, params=query) as response:
            return orjson.loads(await response.read())

    async def status_of(self, path: str, **query: Any) -> tuple[int, Any, dict[str, str]]:
        async with self.session.get(self.url + path, params=query) as response:
            body = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, orjson.loads(body) if is_json else body, dict(response.headers)

    async def reaches(self, wanted: Callable[[Any], bool], seconds: float = 30) -> None:
        """Wait until the simulator's status is as wanted."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not wanted(status := await self.get("/control/status")):
            assert loop.time() < deadline, status
            await asyncio.sleep(0.05)

    async def control(self, action: str, body: object = None, expect: int = 200) -> Any:
        async with self.session.post(f"{self.url}/control/{action}", data=orjson.dumps(body)) as response:
            answer = orjson.loads(await response.read())
            assert response.status == expect, answer
            return answer

    async def fault(self, kind: str, **fields: Any) -> Any:
        return await self.control("fault", {"kind": kind, **fields})

    async def channel(self, symbol: str, channel: str) -> Any:
        """The ledger of one stream."""
        ledger = await self.get("/control/ledger")
        return ledger["symbols"][symbol]["channels"][channel]

    async def depth(self, symbol: str, limit: int = 1000) -> Any:
        return await self.get("/api/v3/depth", symbol=symbol, limit=limit)

    @contextlib.asynccontextmanager
    async def websocket(self, *names: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A raw client on a plain stream, subscribed to ``names``."""
        async with self.session.ws_connect(f"{self.ws_url}/stream/ws/0", max_msg_size=0) as socket:
            if names:
                await socket.send_json({"method": "SUBSCRIBE", "params": names, "id": 1})
                assert await next_json(socket) == {"result": None, "id": 1}
            yield socket


async def next_json(socket: aiohttp.ClientWebSocketResponse, seconds: float = 10) -> Any:
    message = await socket.receive(timeout=seconds)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return orjson.loads(message.data)


async def frames(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[Any]:
    return [await next_json(socket) for _ in range(count)]


async def silent_for(socket: aiohttp.ClientWebSocketResponse, seconds: float) -> bool:
    try:
        await socket.receive(timeout=seconds)
    except TimeoutError:
        return True
    return False


@contextlib.asynccontextmanager
async def simulator(*arguments: str) -> AsyncIterator[Simulator]:
    """The simulator in this event loop, on any free port."""
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    settings = parse_arguments(["--port", "0", *arguments])
    serving = asyncio.create_task(serve(settings, ready.set_result, stop))
    either: list[asyncio.Future[object]] = [serving, ready]  # type: ignore[list-item]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
    try:
        async with aiohttp.ClientSession() as session:
            yield Simulator.of(ready.result().as_json(), session)
    finally:
        stop.set()
        await serving


@contextlib.asynccontextmanager
async def simulator_process(*arguments: str) -> AsyncIterator[Simulator]:
    """A process of its own, on any free port; it must end with 0 when told to."""
    command = (sys.executable, "-m", "daedalus_simulator", "--port", "0", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), READY_SECONDS))
        async with aiohttp.ClientSession() as session:
            yield Simulator.of(ready, session)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def rewritten(urls: Any, simulator: Simulator) -> Any:
    """ccxt's ``urls['api']`` with every address replaced by the simulator's."""
    if isinstance(urls, dict):
        return {key: rewritten(value, simulator) for key, value in urls.items()}
    return f"{simulator.ws_url}/stream/ws" if urls.startswith("ws") else f"{simulator.url}/api/v3"


@contextlib.asynccontextmanager
async def ccxt_client(simulator: Simulator, exchange_id: str = "binanceus", **config: Any) -> AsyncIterator[Any]:
    """An unmodified ccxt.pro client whose addresses lead to the simulator."""
    options = {"fetchMarkets": {"types": ["spot"]}, "watchTicker": {"name": "ticker"}}
    exchange = getattr(ccxt.pro, exchange_id)({"options": options, "newUpdates": True, **config})
    exchange.urls["api"] = rewritten(exchange.urls["api"], simulator)
    try:
        yield exchange
    finally:
        await exchange.close()


async def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Wait for ``condition``; it looks at the state of others, who have no event to tell us."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.02)


class ClientBook:
    """A book kept from a depth answer and depth updates, by Binance's rules: texts in, floats compared."""

    def __init__(self, snapshot: Any) -> None:
        self.last_id: int = snapshot["lastUpdateId"]
        self.sides = [{float(p): float(q) for p, q in snapshot[side]} for side in ("bids", "asks")]

    def apply(self, update: Any) -> bool:
        """Whether the update was news. Fails if an update is missing before it."""
        if update["u"] <= self.last_id:
            return False
        assert update["U"] <= self.last_id + 1, f"updates {self.last_id + 1}..{update['U'] - 1} are missing"
        self.last_id = update["u"]
        for side, key in zip(self.sides, ("b", "a"), strict=True):
            for price, size in update[key]:
                if float(size) == 0:
                    side.pop(float(price), None)
                else:
                    side[float(price)] = float(size)
        return True

    @property
    def top(self) -> tuple[float, float, float, float]:
        bid, ask = max(self.sides[0]), min(self.sides[1])
        return bid, self.sides[0][bid], ask, self.sides[1][ask]
