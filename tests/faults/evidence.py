"""What a run left behind, for the oracle to judge: pure values and a folder of Parquet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import polars as pl

from daedalus.summary.ledger import Balance, Feed, Sent
from daedalus.summary.reconcile import balance
from daedalus.summary.recording import Recording, objects_since, read_recording
from daedalus_common.config import MarketSettings
from daedalus_common.events import CONTROL
from daedalus_common.markets import Market
from daedalus_common.stores import LocalDisk
from faults.cells import Window
from faults.usage import Life
from support.offline import bronze

BRONZE_TABLES = ("orderbook", "trades", "ticker", CONTROL)
PLACE = ("generation", "stream_ms", "stream_seq")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Violation:
    """One promise broken once. `at_ns` is about when, None where that cannot be said."""

    invariant: str
    text: str
    at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """A service that ended by itself."""

    role: str
    name: str
    at_ns: int
    code: int
    last_words: str
    """The end of its log."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A connection that ended at the exchange, and the feeds it carried."""

    at_ns: int
    feeds: frozenset[Feed]


@dataclass(frozen=True)
class Evidence:
    """`data` holds bronze/, silver/ and gold/; `sent` is the simulator's own record. Files are read once."""

    data: Path
    settings: tuple[MarketSettings, ...]
    sent: Mapping[Feed, Sent]
    last_seq: Mapping[Market, int]
    """The number of each market's last event, as Redis says after the run."""
    windows: tuple[Window, ...] = ()
    lives: tuple[Life, ...] = ()
    deaths: tuple[Death, ...] = ()
    endings: tuple[Ending, ...] = ()
    """The simulator's own record, in the order of time."""
    lags: Mapping[str, int] = field(default_factory=dict)
    """What is unread after everything was stopped in order, by stream and group."""
    audit: str | None = None
    """What `daedalus audit` found wrong."""

    @cached_property
    def markets(self) -> tuple[Market, ...]:
        return tuple(each.market for each in self.settings)

    @cached_property
    def recording(self) -> Recording:
        """What Bronze holds. Raises StoreError."""
        store = LocalDisk(self.data)
        # Events that came too late for their market's sequence lie in tables of their own, outside it.
        folders = [f"bronze/ccxt/{table}/" for table in BRONZE_TABLES]
        return read_recording(store, objects_since(store, folders, LONG_AGO), self.markets, LONG_AGO)

    @cached_property
    def balances(self) -> Mapping[Feed, Balance]:
        """What became of everything sent, by feed."""
        recorded, gaps = self.recording.events, self.recording.gaps
        return {
            feed: balance(feed, self.sent.get(feed, Sent(())), recorded.get(feed, []), gaps.get(feed.market, ()))
            for feed in sorted({*self.sent, *recorded})
        }

    @cached_property
    def rows(self) -> Mapping[Market, pl.DataFrame]:
        """Place, seq and times (ns) of every Bronze row of a market, with its table, in stream order."""
        return {market: self._rows(market) for market in self.markets}

    @cached_property
    def gaps(self) -> Mapping[Market, pl.DataFrame]:
        """Each market's gap events in stream order: place, seq, channel, reason, lost and capture_ts (ns)."""
        return {market: self._gaps(market) for market in self.markets}

    @cached_property
    def gap_rows(self) -> Mapping[Market, pl.DataFrame]:
        """Each market's rows of quality/gaps: the same columns, phase and end_ts (ns)."""
        return {market: self._gap_rows(market) for market in self.markets}

    def has_table(self, market: Market, table: str) -> bool:
        return any((self.data / "bronze" / "ccxt" / table).glob(f"{market.partition}/**/*.parquet"))

    def _rows(self, market: Market) -> pl.DataFrame:
        parts = [
            bronze(self.data, table, market.partition).select(
                *PLACE, "seq", pl.col("ts").dt.epoch("ns"), pl.col("capture_ts").dt.epoch("ns"), table=pl.lit(table)
            )
            for table in BRONZE_TABLES
            if self.has_table(market, table)
        ]
        return pl.concat(parts).sort(PLACE) if parts else pl.DataFrame()

    def _gaps(self, market: Market) -> pl.DataFrame:
        if not self.has_table(market, CONTROL):
            return pl.DataFrame()
        return (
            bronze(self.data, CONTROL, market.partition)
            .filter(pl.col("kind").cast(pl.String) == "gap")
            .select(
                *PLACE, "seq", pl.col("channel").cast(pl.String), pl.col("reason").cast(pl.String), "lost",
                pl.col("capture_ts").dt.epoch("ns"),
            )
        )  # fmt: skip

    def _gap_rows(self, market: Market) -> pl.DataFrame:
        files = self.data / "quality" / "gaps" / market.partition
        if not any(files.glob("**/*.parquet")):
            return pl.DataFrame()
        return (
            pl.scan_parquet(f"{files}/**/*.parquet", hive_partitioning=False)
            .select(
                *PLACE, "seq", pl.col("phase", "channel", "reason").cast(pl.String), "lost",
                pl.col("capture_ts", "end_ts").dt.epoch("ns"),
            )
            .sort(PLACE)
            .collect()
        )  # fmt: skip
