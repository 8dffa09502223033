"""The server that an operator looks at, and the markets on it."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from redis.exceptions import ResponseError

from daedalus_common.broker import keys
from daedalus_common.broker.client import Client, connect_to
from daedalus_common.broker.server_check import check_kind
from daedalus_common.config import Config
from daedalus_common.config.schema import nearest
from daedalus_common.leases import Role
from daedalus_common.markets import Market

_SCAN_COUNT = 1000
_SHOWN_NAMES = 12

GROUP_ROLES: Mapping[str, Role] = {"writer": Role.WRITER, "featurizer": Role.FEATURIZER}
"""The role that moves each of our consumer groups."""


class UnknownMarket(Exception):
    """No such market; the text names the nearest one, or else some."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = list(known)
        near = nearest(name, names)
        some = ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
        hint = f"did you mean {near}?" if near else f"there is {some}" if names else "the server has none"
        super().__init__(f"no market {name}; {hint}")


# TIME itself would go to any node of a cluster; each has its clock.
_TIME = "return redis.call('TIME')"


def ask_time(pipe: Any, key: str) -> None:
    """Adds a question for the time of the server that holds the key; `milliseconds` takes the reply."""
    pipe.eval(_TIME, 1, key)


@asynccontextmanager
async def connected(config: Config) -> AsyncIterator[Client]:
    """A client of the configured server or cluster. Raises WrongKind, and redis' errors."""
    client = connect_to(config.redis)
    try:
        await check_kind(client)
        yield client
    finally:
        await client.aclose()


async def markets_of(client: Client, config: Config) -> tuple[Market, ...]:
    """The configured markets and those that the server has a stream of (a retired market holds memory too), sorted."""
    found = {settings.market.name: settings.market for settings in config.markets()}
    suffixes = tuple(f"}}:{name}" for name in keys.STREAMS)
    async for key in client.scan_iter(match="{*}:*", count=_SCAN_COUNT, _type="stream"):
        text = key.decode(errors="replace")
        name = text[1:].removesuffix(next((s for s in suffixes if text.endswith(s)), "\0"))
        market = market_named(name)
        if market is not None and any(text == keys.stream(market, each) for each in keys.STREAMS):
            found.setdefault(market.name, market)
    return tuple(sorted(found.values()))


def market_named(name: str) -> Market | None:
    """A market of this name, `exchange:BTC-USDT`; its symbol is as the name has it, which gives the same keys."""
    exchange, colon, symbol = name.partition(":")
    return Market(exchange, unquote(symbol)) if colon and exchange and symbol else None


def chosen(markets: Sequence[Market], name: str | None) -> tuple[Market, ...]:
    """The market of that name, `binanceus:BTC-USDT` or `binanceus:BTC/USDT`; all for None. Raises UnknownMarket."""
    if name is None:
        return tuple(markets)
    for market in markets:
        if name in (market.name, f"{market.exchange}:{market.symbol}"):
            return (market,)
    wanted = market_named(name)
    for market in markets:
        if wanted is not None and wanted.name == market.name:
            return (market,)
    raise UnknownMarket(name, [market.name for market in markets])


def milliseconds(time: Sequence[bytes]) -> int:
    """The reply to `ask_time`, seconds and microseconds, as ms since the epoch."""
    seconds, microseconds = time
    return int(seconds) * 1000 + int(microseconds) // 1000


def id_ms(id_: str) -> int:
    """When an entry was added: ms since the epoch by the server's clock."""
    return int(id_.partition("-")[0])


def age_seconds(now_ms: int, then_ms: int) -> float:
    """Never negative: a server whose clock was set back has ids of the future."""
    return max(0, now_ms - then_ms) / 1000


def groups_or_none(reply: Any) -> Sequence[Mapping[str, Any]] | None:
    """The reply of XINFO GROUPS in a pipeline that raises nothing; None where there is no such stream."""
    if isinstance(reply, ResponseError) and "no such key" in str(reply):
        return None
    groups: Sequence[Mapping[str, Any]] = answer(reply)
    return groups


def answer(reply: Any) -> Any:
    """The reply itself. Raises what it is, if it is an error."""
    if isinstance(reply, Exception):
        raise reply
    return reply
