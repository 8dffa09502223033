"""The composition root: settings in, a serving exchange out."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from daedalus_simulator.clock import Clock
from daedalus_simulator.exchange import Exchange
from daedalus_simulator.market import SyntheticMarket, market_generator
from daedalus_simulator.recorder import Recorder, open_tape
from daedalus_simulator.replay import ReplaySource
from daedalus_simulator.server import application, serving
from daedalus_simulator.settings import Settings, parse_arguments
from daedalus_simulator.source import Source
from daedalus_simulator.synthetic import SyntheticSource
from daedalus_simulator.tape import RecordingError, open_recording

_CANNOT_START = 1
_BAD_INPUT = 2


class StartError(Exception):
    """The simulator cannot start; the text is the one line the user sees."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. 0 after a clean stop, 1 if it cannot start, 2 for a bad recording."""
    settings = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=settings.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_until_signalled(settings))
    except RecordingError as error:
        print(f"daedalus_simulator: {error}", file=sys.stderr)
        return _BAD_INPUT
    except StartError as error:
        print(f"daedalus_simulator: {error}", file=sys.stderr)
        return _CANNOT_START
    return 0


@dataclass(frozen=True, slots=True)
class Ready:
    """Where the simulator serves, and what."""

    host: str
    port: int
    source: str
    symbols: tuple[str, ...]
    seed: int

    def as_json(self) -> dict[str, object]:
        return {
            "event": "ready",
            "url": f"http://{self.host}:{self.port}",
            "ws_url": f"ws://{self.host}:{self.port}",
            "source": self.source,
            "symbols": self.symbols,
            "seed": self.seed,
        }


async def serve(settings: Settings, announce: Callable[[Ready], None], stop: asyncio.Event) -> None:
    """Serve until ``stop``; ``announce`` is called when clients can connect.

    Raises ``StartError`` or ``RecordingError``.
    """
    clock = Clock()
    exchange = Exchange(clock, settings.ledger_limit)
    with contextlib.ExitStack() as stack:
        source = _source(settings, exchange, clock, stack)
        app = application(exchange, source, clock, settings.exchange_id, settings.patience)
        try:
            async with serving(app, settings.host, settings.port) as port:
                symbols = tuple(instrument.symbol for instrument in source.instruments.values())
                announce(Ready(settings.host, port, source.name, symbols, settings.seed))
                await stop.wait()
        except OSError as error:
            place = f"{settings.host}:{settings.port}"
            # asyncio's own text repeats the address.
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StartError(f"cannot listen on {place}: {reason}; choose another with --port") from None


async def _until_signalled(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def announce(ready: Ready) -> None:
        print(orjson.dumps(ready.as_json()).decode(), flush=True)
        if settings.port_file is not None:
            _write_port(settings.port_file, ready.port)

    await serve(settings, announce, stop)


def _source(settings: Settings, exchange: Exchange, clock: Clock, stack: contextlib.ExitStack) -> Source:
    if settings.replay:
        return ReplaySource(exchange, open_recording(settings.replay), settings.replay_settings, clock)
    # Ten ids a millisecond: more than any market uses, so that the next start begins beyond the last id of this one.
    first_id = 10 * clock.wall_ms() if settings.ids_from_clock else 0
    market = replace(settings.market, first_id=first_id)
    markets = [SyntheticMarket(i, market_generator(settings.seed, i), market) for i in settings.instruments]
    if settings.record is not None:
        _record(settings.record, exchange, markets, clock, stack)
    return SyntheticSource(exchange, markets, clock)


def _record(
    path: Path, exchange: Exchange, markets: Sequence[SyntheticMarket], clock: Clock, stack: contextlib.ExitStack
) -> None:
    try:
        recorder = Recorder(stack.enter_context(open_tape(path)), clock)
    except OSError as error:
        raise StartError(f"cannot write the recording {path}: {error.strerror}") from None
    for market in markets:
        recorder.snapshot(market.instrument.id, market.snapshot(len(market.book.sides[0])))
    exchange.record(recorder.frame)


def _write_port(path: Path, port: int) -> None:
    """Renamed into place, so that a reader never sees half a number."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(f"{port}\n")
        partial.rename(path)
    except OSError as error:
        raise StartError(f"cannot write the port file {path}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
