"""One HTTP server for everything: REST, websockets, control, metrics."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import WSCloseCode, web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from daedalus_simulator.clock import Clock
from daedalus_simulator.control import Control
from daedalus_simulator.exchange import Exchange
from daedalus_simulator.metrics import registry_of
from daedalus_simulator.rest import ExchangeId, Rest, json_response, refusal
from daedalus_simulator.source import Source
from daedalus_simulator.websocket import Websocket

_WATCH_SECONDS = 1.0
_SHUTDOWN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """A client is pinged every ``ping_seconds``; one that is silent for three pings, or takes no bytes for
    ``client_timeout_seconds`` while frames wait for it, is cut off."""

    ping_seconds: float = 20.0
    client_timeout_seconds: float = 60.0


def application(
    exchange: Exchange, source: Source, clock: Clock, exchange_id: ExchangeId, patience: Patience
) -> web.Application:
    """The simulator as an aiohttp application; the source runs as long as it does."""
    app = web.Application(middlewares=[_binance_errors(exchange)])
    app.add_routes(Rest(exchange, source, clock, exchange_id).routes())
    app.add_routes(Websocket(exchange, source, clock).routes())
    app.add_routes(Control(exchange, source).routes())
    app.add_routes(_observability(exchange, source))

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(source.run()), asyncio.create_task(_watch(exchange, clock, patience))]
        yield
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def say_goodbye(_: web.Application) -> None:
        goodbyes = [c.close(WSCloseCode.GOING_AWAY, "the simulator ends") for c in exchange.connections]
        await asyncio.wait_for(asyncio.gather(*goodbyes, return_exceptions=True), _SHUTDOWN_SECONDS)

    app.cleanup_ctx.append(lifetime)
    app.on_shutdown.append(say_goodbye)
    return app


@contextlib.asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve until the context ends; gives the bound port. Raises ``OSError`` when the port cannot be bound."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _binance_errors(exchange: Exchange) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        websocket = request.path.startswith("/stream/")
        if websocket or request.path.startswith("/api/"):
            status = exchange.refusal(request.path, websocket)
            if status is not None:
                return refusal(status)
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return json_response({"code": -1000, "msg": f"no such path: {request.path}"}, 404)
        except web.HTTPMethodNotAllowed as error:
            text = f"{request.method} is not allowed: {request.path}"
            return json_response({"code": -1000, "msg": text}, error.status)

    return middleware


def _observability(exchange: Exchange, source: Source) -> list[web.RouteDef]:
    registry = registry_of(exchange, source)

    async def metrics(request: web.Request) -> web.StreamResponse:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def alive(request: web.Request) -> web.StreamResponse:
        return json_response({"status": "ok", "source": source.name})

    return [web.get("/metrics", metrics), web.get("/healthz", alive), web.get("/readyz", alive)]


async def _watch(exchange: Exchange, clock: Clock, patience: Patience) -> None:
    """Ping the clients, and cut off the dead and the ones that do not read."""
    next_ping = clock.monotonic() + patience.ping_seconds
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        for connection in tuple(exchange.connections):
            silent = connection.silent_seconds() > 3 * patience.ping_seconds
            # A client that does not read cannot have seen our ping: only its blocked socket counts.
            blocked = connection.blocked_seconds()
            if blocked > patience.client_timeout_seconds or (silent and blocked == 0.0):
                connection.abort()
        if clock.monotonic() >= next_ping:
            next_ping = clock.monotonic() + patience.ping_seconds
            for connection in tuple(exchange.connections):
                await connection.ping()
