"""The source that drives seeded synthetic markets in real time."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from itertools import islice

from daedalus_simulator.clock import Clock
from daedalus_simulator.exchange import Exchange
from daedalus_simulator.frames import Frame, Stream
from daedalus_simulator.instrument import Instrument
from daedalus_simulator.market import STEP_MS, Snapshot, SyntheticMarket
from daedalus_simulator.source import Burst, Gate, SourceError

_LOG = logging.getLogger(__name__)
_MAX_LAG_SECONDS = 1.0
"""A market that is later than this gives up the lost time: catching up would only make a busy machine busier."""
_BURST_TURN = 128
"""Updates generated before the event loop gets a turn (about 5 ms)."""
_STEPS_PER_TURN = 20
"""Steps a late market makes up for in one turn of the event loop."""
_ALL_LEVELS = 1_000_000


class SyntheticSource:
    """One task per market, each stepping its market every ``STEP_MS`` of wall time."""

    name = "synthetic"

    def __init__(self, exchange: Exchange, markets: Sequence[SyntheticMarket], clock: Clock) -> None:
        self._exchange = exchange
        self._markets = {market.instrument.id: market for market in markets}
        self._locks = {instrument_id: asyncio.Lock() for instrument_id in self._markets}
        self._clock = clock
        self._gate = Gate()
        self._due: dict[str, float] = {}
        self._lost_seconds = 0.0

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        return {instrument_id: market.instrument for instrument_id, market in self._markets.items()}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for market in self._markets.values():
                tasks.create_task(self._drive(market))

    async def snapshot(self, instrument_id: str) -> Snapshot:
        return self._markets[instrument_id].snapshot(_ALL_LEVELS)

    def snapshot_delivered(self, instrument_id: str) -> None:
        """Nothing waits for it: a live market goes on, as a real one does."""

    def subscribed(self, stream: Stream) -> None:
        """Nothing waits for it: the market runs whether anyone listens or not."""

    async def pause(self) -> None:
        self._gate.close()
        await self._settle()

    def resume(self) -> None:
        self._gate.open()

    async def stop(self) -> None:
        self._gate.stop()
        await self._settle()

    async def burst(self, instrument_id: str, trades: int, depth: int) -> Burst:
        """All frames are built first, then sent as fast as the sockets take them."""
        if self._gate.stopped:
            raise SourceError("the source was stopped for good; start a new simulator")
        market = self._markets[instrument_id]
        async with self._locks[instrument_id]:
            frames = await self._build(market, trades, depth)
            started = self._clock.monotonic()
            await self._exchange.publish(instrument_id, frames)
            # The market stood still meanwhile, on purpose: it is not late.
            self._due[instrument_id] = self._clock.monotonic()
            return _burst_of(frames, self._clock.monotonic() - started)

    def status(self) -> dict[str, object]:
        return {"state": self._gate.state, "lost_seconds": round(self._lost_seconds, 3)}

    async def _build(self, market: SyntheticMarket, trades: int, depth: int) -> list[Frame]:
        wanted = self._exchange.wanted(market.instrument.id)
        updates = market.burst(trades, depth, self._clock.wall_ms(), wanted)
        frames: list[Frame] = []
        while turn := list(islice(updates, _BURST_TURN)):
            frames.extend(frame for update in turn for frame in update)
            await asyncio.sleep(0)
        return frames

    async def _drive(self, market: SyntheticMarket) -> None:
        instrument_id = market.instrument.id
        self._due[instrument_id] = self._clock.monotonic()
        while True:
            if not self._gate.running:
                await self._gate.wait()
                self._due[instrument_id] = self._clock.monotonic()
            async with self._locks[instrument_id]:
                if self._gate.stopped:
                    return
                await self._catch_up(market)
            late = self._clock.monotonic() - self._due[instrument_id]
            if late > _MAX_LAG_SECONDS:
                _LOG.warning("%s is %.1f s late, this time is skipped", market.instrument.symbol, late)
                self._lost_seconds += late
                self._due[instrument_id] = self._clock.monotonic()
            await asyncio.sleep(max(0.0, -late))

    async def _catch_up(self, market: SyntheticMarket) -> None:
        instrument_id = market.instrument.id
        for _ in range(_STEPS_PER_TURN):
            if not self._gate.running or self._clock.monotonic() < self._due[instrument_id]:
                return
            frames = market.step(self._clock.wall_ms(), self._exchange.wanted(instrument_id))
            await self._exchange.publish(instrument_id, frames)
            self._due[instrument_id] += STEP_MS / 1000

    async def _settle(self) -> None:
        for instrument_id, market in self._markets.items():
            async with self._locks[instrument_id]:
                frames = market.flush(self._clock.wall_ms(), self._exchange.wanted(instrument_id))
                await self._exchange.publish(instrument_id, frames)


def _burst_of(frames: Sequence[Frame], seconds: float) -> Burst:
    trades = [frame for frame in frames if frame.channel == "trade"]
    depth = [frame for frame in frames if frame.channel == "depth"]
    return Burst(
        len(trades),
        len(depth),
        (trades[0].first_id, trades[-1].last_id) if trades else None,
        (depth[0].first_id, depth[-1].last_id) if depth else None,
        round(seconds, 6),
    )
