"""`daedalus audit`: is every event that was published stored, and what was missed at all?"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from daedalus.cli.asking import EXIT_FAILED, EXIT_USAGE, AsJson, end, show, show_json
from daedalus.cli.recorded import ConfigFile, DataDir, MarketName, day_of, markets_in, moment, progress, recorded

if TYPE_CHECKING:
    from daedalus.quality.ledger import Waiting
    from daedalus_common.config import Config
    from daedalus_common.markets import Market

EPILOG = (
    "Examples: daedalus audit --config config/daedalus.yaml | daedalus audit --data-dir data --day 2026-02-03 | "
    "daedalus audit --config FILE --market binanceus:BTC-USDT --since 2026-02-01 --offline --json. "
    "Exit codes: 0 reconciled, 1 does not add up or cannot be read, 2 unknown market or wrong usage."
)


def audit(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    market: MarketName = None,
    day: Annotated[str | None, typer.Option(metavar="DAY", help="This UTC day only, such as 2026-02-03.")] = None,
    since: Annotated[str | None, typer.Option(metavar="DAY", help="The first UTC day, or 2d (ago).")] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="The last UTC day.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask Redis what waits to be stored.")] = False,
    as_json: AsJson = False,
) -> None:
    """Reconcile the recording with itself, per market and day: published = stored + rejected + lost + waiting.

    Reads where each row is in its market's sequence, nothing else of it. Also shows which share of the recorded time
    somebody watched each channel, and checks every object: that it can be read, holds what its footer says, is in
    order, and repeats no row. Does not disturb a pipeline at work.
    """
    from concurrent.futures import ThreadPoolExecutor

    from daedalus.etl.filters import FilterSpec
    from daedalus.operations.server import UnknownMarket
    from daedalus.quality.audit import audit_market
    from daedalus.quality.pages import audit_page
    from daedalus.quality.report import Audit, to_json
    from daedalus_common.stores import StoreError

    now = datetime.now(UTC)
    if day is not None and (since is not None or until is not None):
        end("audit", "give either --day or --since and --until", EXIT_USAGE)
    first, last = (day_of(moment("audit", name, text, now)) for name, text in (("--since", since), ("--until", until)))
    if day is not None:
        first = last = day_of(moment("audit", "--day", day, now))
    if first is not None and last is not None and last < first:
        end("audit", f"the range ends ({last}) before it begins ({first})", EXIT_USAGE)
    found = recorded("audit", config, data_dir)
    result = Audit(found.place)
    try:
        markets = markets_in(found, market)
        reaches_now = last is None or last >= now.date()
        waiting: dict[Market, Waiting] = {}
        if reaches_now and not offline:
            unseen = _unseen(found.config, markets) if market is None and first is None else ()
            waiting = _waiting(found.config, (*markets, *unseen), result.notes)
            markets = (*markets, *(each for each in unseen if each in waiting))
        with progress(markets) as tick, ThreadPoolExecutor(4) as pool:
            for each in markets:
                filters = FilterSpec(begin=first, end=last)
                result.markets.append(audit_market(found.stores, each, filters, waiting.get(each), now, pool, tick))
    except UnknownMarket as error:
        end("audit", str(error), EXIT_USAGE)
    except StoreError as error:
        end("audit", str(error), EXIT_FAILED)
    if as_json:
        show_json(to_json(result))
    else:
        show(audit_page(result))
    raise typer.Exit(0 if result.reconciled else EXIT_FAILED)


def _unseen(config: "Config | None", markets: "Sequence[Market]") -> "Sequence[Market]":
    """Configured markets without any segment: Redis may know that they had some."""
    names = {market.name for market in markets}
    configured = () if config is None else (settings.market for settings in config.markets())
    return tuple(market for market in configured if market.name not in names)


def _waiting(config: "Config | None", markets: "Sequence[Market]", notes: list[str]) -> "dict[Market, Waiting]":
    """Before the objects are listed; a server that does not answer is told and no fault of the recording."""
    from redis.exceptions import RedisError

    from daedalus_common.broker.server_check import WrongKind
    from daedalus_common.telemetry import mask_url

    if config is None:
        notes.append("Redis was not asked what waits to be stored: give --config for that")
        return {}
    try:
        found, unknown = asyncio.run(_ask(config, markets))
        for market, error in unknown.items():
            notes.append(f"{market.name}: its server does not tell what waits to be stored: {mask_url(str(error))}")
        return found
    except (RedisError, OSError, TimeoutError, WrongKind) as error:
        reason = mask_url(str(error) or type(error).__name__)
        notes.append(f"Redis ({mask_url(config.redis.url)}) does not tell what waits to be stored: {reason}")
        return {}


async def _ask(
    config: "Config", markets: "Sequence[Market]"
) -> "tuple[dict[Market, Waiting], dict[Market, Exception]]":
    from daedalus.operations.server import connected
    from daedalus.quality.waiting import read_waiting

    async with connected(config) as client:
        return await read_waiting(client, markets)
