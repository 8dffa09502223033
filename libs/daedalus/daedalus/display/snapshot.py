"""One moment of a run, as a frozen value that the renderer turns into text."""

from dataclasses import dataclass
from datetime import timedelta

from daedalus.supervisor.supervisor import ChildStatus, Notice
from daedalus_common.markets import Market


@dataclass(frozen=True, slots=True)
class MarketSample:
    """What Redis says of one market. Lags are entries not yet read and committed; None = unknown."""

    market: Market
    seq: int
    """Events published so far."""
    writer_lag: int | None = None
    featurizer_lag: int | None = None
    mid: float | None = None
    """Mid price of the last Silver row, in quote units."""
    spread: float | None = None
    dead_letters: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """All markets at one time of a monotonic clock, in seconds; `problem` says why Redis told nothing."""

    at: float
    markets: tuple[MarketSample, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class MarketView:
    """One line of the display's market table."""

    sample: MarketSample
    events_per_second: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is on the screen. `duration` is None where nobody set one."""

    phase: str
    """recording, stopping the ingestor, …"""
    elapsed: timedelta
    duration: timedelta | None
    redis: str
    data_dir: str
    markets: tuple[MarketView, ...]
    services: tuple[ChildStatus, ...]
    notices: tuple[Notice, ...] = ()
    """The newest few, oldest first."""
    problem: str | None = None

    @property
    def progress(self) -> float | None:
        """From 0 to 1; None without a duration."""
        if self.duration is None:
            return None
        return min(1.0, self.elapsed / self.duration)


def market_views(before: Sample | None, now: Sample) -> tuple[MarketView, ...]:
    """The markets of `now`, with the rate since `before`; None where there is nothing to compare with."""
    earlier = {} if before is None else {sample.market: sample.seq for sample in before.markets}
    seconds = 0.0 if before is None else now.at - before.at
    return tuple(MarketView(sample, _rate(earlier.get(sample.market), sample.seq, seconds)) for sample in now.markets)


def _rate(before: int | None, now: int, seconds: float) -> float | None:
    # The sequence goes back when the server lost its tail: then there is no rate to speak of.
    if before is None or seconds <= 0 or now < before:
        return None
    return (now - before) / seconds
