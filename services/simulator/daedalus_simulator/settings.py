"""The command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daedalus_simulator.instrument import Instrument, parse_symbol
from daedalus_simulator.market import STEP_MS, MarketSettings
from daedalus_simulator.replay import ReplaySettings
from daedalus_simulator.rest import ExchangeId
from daedalus_simulator.server import Patience

_DEFAULT_PORT = 8787
_DEFAULT_SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
_EPILOG = """\
examples:
  python -m daedalus_simulator
      three synthetic markets on http://127.0.0.1:8787
  python -m daedalus_simulator --seed 7 --symbols BTC/USDT DOGE/USDT --depth-rate 2000 --trade-rate 200 \\
      --depth-interval-ms 0
      two busy markets, one depth update per change of the book
  python -m daedalus_simulator --replay btcusdt_20240808.gz btcusdt_20240809.gz --speed 20
      a recording at twenty times its pace
  python -m daedalus_simulator --replay run.gz --speed max --await-subscriptions 4
      as fast as the clients read, begun when four streams are subscribed
  curl -X POST localhost:8787/control/fault -d '{"kind": "skip", "symbol": "BTC/USDT", "count": 3}'
      misbehave: kinds are drop, skip, malformed, stall, status, error_frame

clients: in ccxt's urls['api'], every http url becomes http://HOST:PORT/api/v3, every ws url
ws://HOST:PORT/stream/ws. GET /control/ledger tells what was sent.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the composition root needs. ``replay`` empty means synthetic markets."""

    host: str
    port: int
    port_file: Path | None
    exchange_id: ExchangeId
    seed: int
    instruments: tuple[Instrument, ...]
    market: MarketSettings
    ids_from_clock: bool
    replay: tuple[Path, ...]
    replay_settings: ReplaySettings
    record: Path | None
    ledger_limit: int
    patience: Patience
    log_level: str


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """Exits with status 2 and a clear line for a wrong argument, as argparse does."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.record is not None and args.replay:
        parser.error("--record writes a synthetic run; it cannot be used with --replay")
    if args.depth_interval_ms % STEP_MS:
        parser.error(f"--depth-interval-ms must be 0 or a multiple of {STEP_MS}")
    return Settings(
        args.host,
        args.port,
        args.port_file,
        args.exchange,
        args.seed,
        tuple({instrument.id: instrument for instrument in args.symbols}.values()),
        MarketSettings(args.depth_rate, args.trade_rate, args.depth_interval_ms, args.levels, args.volatility),
        args.ids_from_clock,
        tuple(args.replay),
        ReplaySettings(
            args.speed,
            args.await_subscriptions,
            args.snapshot_wait_seconds,
            args.settle_ms / 1000,
            args.start_grace_ms / 1000,
        ),
        args.record,
        args.ledger_limit,
        Patience(args.ping_seconds, args.client_timeout_seconds),
        args.log_level,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="daedalus_simulator",
        description="A local exchange that unmodified ccxt.pro.binanceus and ccxt.pro.binance (spot) clients talk to.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=_whole, default=_DEFAULT_PORT, help="port to listen on, 0 for any (default %(default)s)")
    add("--port-file", type=Path, help="write the bound port to this file once ready")
    add("--exchange", choices=("binanceus", "binance"), default="binanceus", help="whose rate limits to announce")
    add("--ledger-limit", type=_positive_whole, default=1_000_000, help="ids kept per stream (default %(default)s)")
    add("--ping-seconds", type=_positive, default=20.0, help="time between pings (default %(default)s)")
    add("--client-timeout-seconds", type=_positive, default=60.0, help="cut off a client that reads nothing so long")
    add("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")
    _add_synthetic(parser.add_argument_group("synthetic markets"))
    _add_replay(parser.add_argument_group("replay"))
    return parser


def _add_synthetic(group: "argparse._ArgumentGroup") -> None:
    add = group.add_argument
    default = [parse_symbol(symbol) for symbol in _DEFAULT_SYMBOLS]
    add("--symbols", type=_symbol, nargs="+", default=default, metavar="BASE/QUOTE", help=" ".join(_DEFAULT_SYMBOLS))
    add("--seed", type=_whole, default=0, help="equal seeds give equal markets (default %(default)s)")
    add("--depth-rate", type=_positive, default=20.0, help="book changes a second and market (default %(default)s)")
    add("--trade-rate", type=_non_negative, default=5.0, help="trades a second and market (default %(default)s)")
    add(
        "--depth-interval-ms",
        type=_whole,
        default=100,
        help="changes are gathered into one depth update per interval; 0: one update per change (default %(default)s)",
    )
    add("--levels", type=_levels, default=1000, help="levels a side (default %(default)s)")
    add("--volatility", type=_positive, default=0.6, help="annual volatility, 0.6 = 60%% (default %(default)s)")
    add(
        "--ids-from-clock",
        action="store_true",
        help="begin ids at the time of day, so that those of a restarted simulator go on (default: equal in every run)",
    )
    add("--record", type=Path, metavar="FILE", help="write every frame to this gzip file, to be replayed")


def _add_replay(group: "argparse._ArgumentGroup") -> None:
    add = group.add_argument
    add("--replay", type=Path, nargs="+", default=[], metavar="FILE", help="recordings, of one or several symbols")
    add("--speed", type=_speed, default=1.0, metavar="N|max", help="times the recorded pace; max: as clients read")
    add(
        "--await-subscriptions",
        type=_whole,
        default=0,
        metavar="N",
        help="begin when N streams are subscribed; 0: each symbol with its depth subscription (default %(default)s)",
    )
    add("--snapshot-wait-seconds", type=_non_negative, default=8.0, help="longest wait for a client to fetch the depth")
    add("--settle-ms", type=_non_negative, default=500.0, help="wait after the depth was fetched (default 500)")
    add(
        "--start-grace-ms",
        type=_non_negative,
        default=2000.0,
        help="a symbol without a depth subscription begins so long after its first one (default %(default)s)",
    )


def _symbol(text: str) -> Instrument:
    try:
        return parse_symbol(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return value


def _non_negative(text: str) -> float:
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be 0 or more")
    return value


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _positive_whole(text: str) -> int:
    value = _whole(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0 must be 1 or more")
    return value


def _levels(text: str) -> int:
    value = _whole(text)
    if not 50 <= value <= 5000:
        raise argparse.ArgumentTypeError(f"{text} must be between 50 and 5000")
    return value


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    return _non_negative(text) or None
