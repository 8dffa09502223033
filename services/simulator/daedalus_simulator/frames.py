"""What goes over a stream: the channels, their stream names, and one frame ready for the socket."""

from dataclasses import dataclass
from typing import Literal

import orjson

Channel = Literal["depth", "depth@1000ms", "trade", "ticker", "miniTicker", "bookTicker"]

CHANNELS: tuple[Channel, ...] = ("depth", "depth@1000ms", "trade", "ticker", "miniTicker", "bookTicker")
DEPTH_CHANNELS: frozenset[Channel] = frozenset(("depth", "depth@1000ms"))

_BY_SUFFIX: dict[str, Channel] = {
    "depth@100ms": "depth",
    "depth": "depth@1000ms",
    "depth@1000ms": "depth@1000ms",
    "trade": "trade",
    "ticker": "ticker",
    "miniTicker": "miniTicker",
    "bookTicker": "bookTicker",
}
_SUFFIXES: dict[Channel, str] = {
    "depth": "depth@100ms",
    "depth@1000ms": "depth",
    "trade": "trade",
    "ticker": "ticker",
    "miniTicker": "miniTicker",
    "bookTicker": "bookTicker",
}
_ID_KEYS: dict[Channel, tuple[str, str]] = {
    "depth": ("U", "u"),
    "depth@1000ms": ("U", "u"),
    "trade": ("t", "t"),
    "ticker": ("E", "E"),
    "miniTicker": ("E", "E"),
    "bookTicker": ("u", "u"),
}

Stream = tuple[str, Channel]
"""(instrument id, channel)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a stream.

    ``first_id`` and ``last_id`` are U and u of a depth update; of any other channel both are the frame's one
    id: the trade's id, the event time E of a ticker, the update id u of a bookTicker.
    """

    channel: Channel
    first_id: int
    last_id: int
    payload: bytes


def frame_of(channel: Channel, data: dict[str, object]) -> Frame:
    """``data`` serialised. Raises ``ValueError`` when it lacks the integer ids of its channel."""
    first_key, last_key = _ID_KEYS[channel]
    first, last = data.get(first_key), data.get(last_key)
    if not isinstance(first, int) or not isinstance(last, int):
        raise ValueError(f"a {channel} frame needs the integers {first_key} and {last_key}")
    return Frame(channel, first, last, orjson.dumps(data))


def stream_name(stream: Stream) -> str:
    """``("BTCUSDT", "depth")`` as ``btcusdt@depth@100ms``."""
    instrument_id, channel = stream
    return f"{instrument_id.lower()}@{_SUFFIXES[channel]}"


def parse_stream(name: str) -> Stream | None:
    """``btcusdt@trade`` as ``("BTCUSDT", "trade")``; None when it names no channel we know."""
    instrument, _, suffix = name.partition("@")
    channel = _BY_SUFFIX.get(suffix)
    if channel is None or not instrument or instrument != instrument.lower():
        return None
    return instrument.upper(), channel
