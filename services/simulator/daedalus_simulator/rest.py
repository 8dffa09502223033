"""The REST side: what Binance's spot API answers under ``/api/v3``."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import orjson
from aiohttp import web

from daedalus_simulator.clock import Clock
from daedalus_simulator.exchange import Exchange
from daedalus_simulator.faults import Status
from daedalus_simulator.instrument import Instrument
from daedalus_simulator.source import SnapshotUnavailable, Source

ExchangeId = Literal["binanceus", "binance"]
PREFIX = "/api/v3"

_DEFAULT_LEVELS = 100
_MAX_LEVELS = 5000
_WEIGHT_A_MINUTE: dict[ExchangeId, int] = {"binanceus": 1200, "binance": 6000}
_REFUSALS = {
    418: {"code": -1003, "msg": "Way too much request weight used; IP banned."},
    429: {"code": -1003, "msg": "Too many requests; current limit of IP is exceeded."},
}


def json_response(body: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def refusal(status: Status) -> web.Response:
    """The answer a status fault asks for: an error of the exchange, or (503) a page of the proxy before it."""
    body = _REFUSALS.get(status.status)
    if body is None:
        page = "<html><body><h1>503 Service Unavailable</h1></body></html>"
        response = web.Response(text=page, status=status.status, content_type="text/html")
    else:
        response = json_response(body, status.status)
    if status.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(status.retry_after_seconds)
    return response


@dataclass(frozen=True, slots=True)
class Rest:
    """Handlers of the public spot endpoints that a market data client uses."""

    exchange: Exchange
    source: Source
    clock: Clock
    exchange_id: ExchangeId

    def routes(self) -> list[web.RouteDef]:
        handlers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "/ping": self.ping,
            "/time": self.time,
            "/exchangeInfo": self.exchange_info,
            "/depth": self.depth,
            # A client with an API key asks for coins and margin pairs as well; this exchange lists none.
            "/capital/config/getall": self.nothing,
            "/margin/allPairs": self.nothing,
            "/margin/isolated/allPairs": self.nothing,
        }
        return [web.get(PREFIX + path, handler) for path, handler in handlers.items()]

    async def ping(self, request: web.Request) -> web.StreamResponse:
        return json_response({})

    async def time(self, request: web.Request) -> web.StreamResponse:
        return json_response({"serverTime": self.clock.wall_ms()})

    async def nothing(self, request: web.Request) -> web.StreamResponse:
        return json_response([])

    async def exchange_info(self, request: web.Request) -> web.StreamResponse:
        instruments = self.source.instruments
        names = _asked_symbols(request)
        unknown = [name for name in names if name not in instruments]
        if unknown:
            return _error(-1121, "Invalid symbol.")
        listed = [instruments[name] for name in names] if names else instruments.values()
        weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        return json_response(
            {
                "timezone": "UTC",
                "serverTime": self.clock.wall_ms(),
                "rateLimits": [weight | {"limit": _WEIGHT_A_MINUTE[self.exchange_id]}],
                "exchangeFilters": [],
                "symbols": [_symbol_info(instrument) for instrument in listed],
            }
        )

    async def depth(self, request: web.Request) -> web.StreamResponse:
        instrument_id = request.query.get("symbol", "")
        if not instrument_id:
            return _error(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if instrument_id not in self.source.instruments:
            return _error(-1121, "Invalid symbol.")
        limit = request.query.get("limit", str(_DEFAULT_LEVELS))
        if not limit.isdigit() or not 1 <= int(limit) <= _MAX_LEVELS:
            return _error(-1100, f"Illegal characters found in parameter 'limit'; legal range is 1-{_MAX_LEVELS}.")
        try:
            snapshot = await self.source.snapshot(instrument_id)
        except SnapshotUnavailable as error:
            return _error(-1001, str(error), 503)
        self.exchange.ledger(instrument_id).snapshot_served(snapshot.last_update_id)
        response = json_response(snapshot.limited(int(limit)).as_json())
        # Written here and not by aiohttp after the return, because only then is it known to be on its way.
        await response.prepare(request)
        await response.write_eof()
        self.source.snapshot_delivered(instrument_id)
        return response


def _asked_symbols(request: web.Request) -> list[str]:
    """The ids in ``symbol=`` or ``symbols=["A","B"]``; none asks for all."""
    if "symbols" in request.query:
        return request.query["symbols"].strip("[]").replace('"', "").split(",")
    return [request.query["symbol"]] if "symbol" in request.query else []


def _error(code: int, text: str, status: int = 400) -> web.Response:
    return json_response({"code": code, "msg": text}, status)


def _symbol_info(instrument: Instrument) -> dict[str, object]:
    lot = instrument.size_text(1)
    return {
        "symbol": instrument.id,
        "status": "TRADING",
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "quoteOrderQtyMarketAllowed": False,
        "allowTrailingStop": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": instrument.price_text(1),
                "maxPrice": "10000000.00000000",
                "tickSize": instrument.price_text(1),
            },
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000.00000000", "stepSize": lot},
            {"filterType": "NOTIONAL", "minNotional": "0.00000000", "applyMinToMarket": False},
        ],
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
    }
