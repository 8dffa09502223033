"""Reads what the display shows of each market from Redis, changing nothing there."""

import math
from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError, ResponseError

from daedalus.display.snapshot import MarketSample, Sample
from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.events import Channel
from daedalus_common.markets import Market
from daedalus_common.rows import RowSchema, schema_id, unpack_rows

# Rows of trades and tickers share the stream with the book's. A row of the book is 1.6 KB: 20 of ten markets each
# second are 0.3 MB/s, a hundredth of what the server can send.
_ROWS_TO_SEARCH = 20
# The trades and tickers of a step follow its books: of a busy market they may be all that the last 20 are. 500 rows
# of trades take 50 KB.
_ROWS_OF_A_BUSY_MARKET = 500
_BOOK = Channel.ORDERBOOK.value.encode()


Prices = tuple[float | None, float | None]
"""(mid, spread)"""


class Sampler:
    """Samples of the markets; remembers the schemas of their rows."""

    def __init__(self, client: Client, markets: Sequence[Market]) -> None:
        self._client = client
        self._log = MarketLog(client)
        self._markets = tuple(markets)
        self._schemas: dict[Market, dict[bytes, RowSchema]] = {}

    async def sample(self, at: float) -> Sample:
        """All markets now; never raises for a server that is away, the sample says so."""
        try:
            return Sample(at, tuple([await self._sample(market) for market in self._markets]))
        except (RedisError, OSError) as error:
            return Sample(at, problem=f"Redis does not answer: {error or type(error).__name__}")

    async def _sample(self, market: Market) -> MarketSample:
        raw, silver = keys.stream(market, keys.RAW), keys.stream(market, keys.SILVER)
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.hget(keys.sequence(market), "seq")  # type: ignore[unused-awaitable]
            pipe.xinfo_groups(raw)  # type: ignore[unused-awaitable]
            pipe.xrevrange(silver, count=_ROWS_TO_SEARCH)  # type: ignore[unused-awaitable]
            pipe.xlen(keys.dead_letters(market))  # type: ignore[unused-awaitable]
            seq, groups, rows, dead = await pipe.execute(raise_on_error=False)
        for reply in (seq, rows, dead):
            if isinstance(reply, RedisError):
                raise reply
        if isinstance(groups, ResponseError):  # no stream yet
            groups = []
        payload = _newest_book(rows)
        if payload is None and len(rows) == _ROWS_TO_SEARCH:
            more: Any = await self._client.xrevrange(silver, count=_ROWS_OF_A_BUSY_MARKET)
            payload = _newest_book(more)
        mid, spread = await self._last_prices(market, payload)
        lags = {group["name"]: group.get("lag") for group in groups}
        return MarketSample(
            market=market,
            seq=int(seq or 0),
            writer_lag=lags.get(b"writer"),
            featurizer_lag=lags.get(b"featurizer"),
            mid=mid,
            spread=spread,
            dead_letters=int(dead),
        )

    async def _last_prices(self, market: Market, payload: bytes | None) -> Prices:
        try:
            schema = None if payload is None else await self._schema(market, payload)
            if payload is None or schema is None:
                return None, None
            _, values = unpack_rows(schema, [payload])
        except ValueError:  # not a row of ours; the writer's dead letters tell more
            return None, None
        by_name = dict(zip((column.name for column in schema.columns), values[0].tolist(), strict=True))
        return _known(by_name.get("mid_price")), _known(by_name.get("spread"))

    async def _schema(self, market: Market, payload: bytes) -> RowSchema | None:
        known = self._schemas.get(market, {})
        wanted = schema_id(payload)
        if wanted not in known:
            known = self._schemas[market] = await self._log.schemas(market)
        return known.get(wanted)


def _newest_book(rows: Sequence[tuple[bytes, Any]]) -> bytes | None:
    """The payload of the first order-book row."""
    return next((fields.get(b"p") for _, fields in rows if fields.get(b"c") == _BOOK), None)


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
