"""A small recording that keeps every promise, with the record of what was sent, to be spoilt by tests."""

from pathlib import Path

import pytest

from daedalus.summary.ledger import Feed, Sent
from daedalus_common.config import MarketSettings
from daedalus_common.events import Book, Channel, Event, Gap, Genesis, Ticker, Trade
from daedalus_common.stores import LocalDisk
from faults.evidence import Evidence
from support.bronze import BronzeBuilder
from support.etl_runs import BTC, PARAMS, History, expected
from support.live_parts import write_live
from support.market_events import market_events
from support.quality_gaps import write_gap_rows


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """Ten minutes of BTC/USDT: Bronze, Silver and Gold, beginning with a genesis and one gap per channel."""
    events = _events()
    BronzeBuilder(LocalDisk(tmp_path, fsync=False), BTC).write(events)
    write_gap_rows(tmp_path, BTC)
    told = History(BTC, tuple(events))
    write_live(tmp_path, told, sorted({name.partition("/")[2] for name in expected(told)}))
    return Evidence(
        data=tmp_path,
        settings=(MarketSettings(BTC, tuple(Channel)),),
        sent=_sent(events),
        last_seq={BTC: len(events)},
    )


def _events() -> list[Event]:
    made = [event for event in market_events(5, 1500, rate_per_second=2.5, levels=5) if not isinstance(event, Gap)]
    start = made[0].capture_ts
    gaps = [Gap(start, channel.value, "start") for channel in Channel]
    tickers = [_ticker(event.capture_ts) for event in made[::50]]
    body = sorted([*made, *tickers], key=lambda event: event.capture_ts)
    return [Genesis(start, "genesis-5", PARAMS.to_json()), *gaps, *body]


def _ticker(ts: int) -> Ticker:
    return Ticker(ts, ts // 1_000_000, 99.9, 1.0, 100.1, 2.0, 100.0, 99.0, 101.0, 98.0, None, 1000.0, None)


def _sent(events: list[Event]) -> dict[Feed, Sent]:
    ids = {
        Channel.ORDERBOOK: [str(event.nonce) for event in events if isinstance(event, Book)],
        Channel.TRADES: [event.id for event in events if isinstance(event, Trade)],
        Channel.TICKER: [str(event.exchange_ts) for event in events if isinstance(event, Ticker)],
    }
    return {Feed(BTC, channel): Sent(tuple(found)) for channel, found in ids.items()}
