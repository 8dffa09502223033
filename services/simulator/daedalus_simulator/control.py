"""The control endpoints: misbehave, burst, pause, stop, and tell what was sent."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace

import orjson
from aiohttp import web

from daedalus_simulator.exchange import Exchange
from daedalus_simulator.faults import Fault, FaultError, Status, fault_json, parse_fault
from daedalus_simulator.frames import stream_name
from daedalus_simulator.rest import json_response
from daedalus_simulator.source import Source, SourceError

_MAX_BURST = 1_000_000
"""Frames of one burst; they are built in memory first (about 400 bytes each)."""


class ControlError(Exception):
    """A request that cannot be served, answered as ``{"error": text}``."""


Action = Callable[[web.Request], Awaitable[dict[str, object]]]


@dataclass(frozen=True, slots=True)
class Control:
    """Handlers under ``/control``. Symbols may be written ``BTC/USDT`` or ``BTCUSDT``."""

    exchange: Exchange
    source: Source

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/control/fault", _guarded(self.fault)),
            web.post("/control/burst", _guarded(self.burst)),
            web.post("/control/pause", _guarded(self.pause)),
            web.post("/control/resume", _guarded(self.resume)),
            web.post("/control/stop", _guarded(self.stop)),
            web.get("/control/status", _guarded(self.status)),
            web.get("/control/ledger", _guarded(self.ledger)),
        ]

    async def fault(self, request: web.Request) -> dict[str, object]:
        fault = self._with_id(parse_fault(await _body(request)))
        connections = await self.exchange.fire(fault)
        return {"fault": fault_json(fault), "connections": connections}

    async def burst(self, request: web.Request) -> dict[str, object]:
        body = await _body(request)
        if not isinstance(body, dict):
            raise ControlError('expected a JSON object such as {"symbol": "BTC/USDT", "trades": 100, "depth": 100}')
        trades, depth = _count(body, "trades"), _count(body, "depth")
        if not 0 < trades + depth <= _MAX_BURST:
            raise ControlError(f"trades and depth together must be between 1 and {_MAX_BURST}")
        symbol = body.get("symbol")
        if not isinstance(symbol, str):
            raise ControlError("symbol is missing")
        return asdict(await self.source.burst(self._instrument_id(symbol), trades, depth))

    async def pause(self, request: web.Request) -> dict[str, object]:
        await self.source.pause()
        return self.source.status()

    async def resume(self, request: web.Request) -> dict[str, object]:
        self.source.resume()
        return self.source.status()

    async def stop(self, request: web.Request) -> dict[str, object]:
        await self.source.stop()
        return self.source.status()

    async def status(self, request: web.Request) -> dict[str, object]:
        streams = self.exchange.subscriptions()
        return {
            "source": self.source.name,
            **self.source.status(),
            "connections": {"open": len(self.exchange.connections), "opened": self.exchange.connections_opened},
            "subscriptions": {stream_name(stream): count for stream, count in streams.items()},
        }

    async def ledger(self, request: web.Request) -> dict[str, object]:
        """``?ids=0`` leaves out the ids, ``?symbol=`` picks one symbol, ``?since=N`` lists each stream's ids from
        its N-th sent frame on."""
        since = request.query.get("since", "0")
        if not since.isdigit():
            raise ControlError(f"since={since!r} is not a number of frames")
        with_ids = request.query.get("ids", "1") != "0"
        asked = [self._instrument_id(request.query["symbol"])] if "symbol" in request.query else self.source.instruments
        symbols = {self.source.instruments[i].symbol: self._symbol(i, with_ids, int(since)) for i in asked}
        return {
            **await self.status(request),
            "symbols": symbols,
            "faults": list(self.exchange.faults),
            "ended": self._ended(),
        }

    def _ended(self) -> list[dict[str, object]]:
        """The connections that ended, each with what it was subscribed to: what was on its way then may be lost."""
        symbols = {id_: instrument.symbol for id_, instrument in self.source.instruments.items()}
        return [
            {"at_ns": at_ns, "streams": [(symbols[id_], channel) for id_, channel in streams if id_ in symbols]}
            for at_ns, streams in self.exchange.endings
        ]

    def _symbol(self, instrument_id: str, with_ids: bool, since: int) -> dict[str, object]:
        ledger = self.exchange.ledger(instrument_id)
        return {
            "id": instrument_id,
            "channels": {
                channel: counts.as_json(since) if with_ids else counts.counts()
                for channel, counts in ledger.channels.items()
            },
            "snapshots": [served.as_json() for served in ledger.snapshots],
        }

    def _with_id(self, fault: Fault) -> Fault:
        if isinstance(fault, Status) or fault.symbol is None:
            return fault
        return replace(fault, symbol=self._instrument_id(fault.symbol))

    def _instrument_id(self, symbol: str) -> str:
        instrument_id = symbol.replace("/", "")
        if instrument_id not in self.source.instruments:
            known = ", ".join(i.symbol for i in self.source.instruments.values())
            raise ControlError(f"symbol {symbol!r} is unknown; allowed: {known}")
        return instrument_id


def _guarded(action: Action) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return json_response(await action(request))
        except (ControlError, FaultError) as error:
            return json_response({"error": str(error)}, 400)
        except SourceError as error:
            return json_response({"error": str(error)}, 409)

    return handler


async def _body(request: web.Request) -> object:
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise ControlError(f"the body is not JSON ({error})") from None


def _count(body: dict[str, object], name: str) -> int:
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ControlError(f"{name} must be a whole number, 0 or more")
    return value
