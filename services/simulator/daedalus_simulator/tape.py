"""Reads recordings: gzip or plain files of ``<local_ts ns> <json>`` lines.

A line's JSON is a frame in Binance's combined form ``{"stream": ..., "data": ...}`` or a depth snapshot: bare as
REST answers it (then it belongs to the file's one symbol), or as the stream ``<symbol>@depth@snapshot`` in our
own recordings, which hold several symbols.
"""

import contextlib
import gzip
import heapq
import logging
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import orjson

from daedalus_simulator.frames import DEPTH_CHANNELS, Frame, frame_of, parse_stream
from daedalus_simulator.instrument import Instrument, split_id
from daedalus_simulator.market import Snapshot

_LOG = logging.getLogger(__name__)
SNAPSHOT_SUFFIX = "@depth@snapshot"
_HEAD_LINES = 1000
"""A file is asked for its symbols by so many lines; a symbol that appears later is not replayed."""
_REJECTS_KEPT = 100
_REJECTS_LOGGED = 10

Levels = list[list[str]]


class RecordingError(Exception):
    """A recording that cannot be replayed at all; the text begins with file (and line)."""


@dataclass(frozen=True, slots=True)
class TapeSnapshot:
    ts_ns: int
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class TapeFrame:
    """``levels`` are the changed (bids, asks) of a depth frame, None for any other."""

    ts_ns: int
    frame: Frame
    levels: tuple[Levels, Levels] | None


TapeItem = TapeSnapshot | TapeFrame


@dataclass(slots=True)
class Rejects:
    """Lines that could not be used: how many, and the first of them as ``file:line: reason``."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, where: str, reason: str) -> None:
        self.count += 1
        if len(self.first) < _REJECTS_KEPT:
            self.first.append(f"{where}: {reason}")
        if self.count <= _REJECTS_LOGGED:
            _LOG.warning("%s: %s; the line is skipped", where, reason)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    first_ts_ns: int
    instrument_ids: tuple[str, ...]


class Recording:
    """The files of one recording, in the order of their first timestamps."""

    def __init__(self, files: Sequence[_File], instruments: dict[str, Instrument]) -> None:
        self._files = sorted(files, key=lambda file: file.first_ts_ns)
        self.instruments = instruments
        self.rejects = Rejects()

    def items(self, instrument_id: str) -> Iterator[TapeItem]:
        """One symbol's lines in the order of their timestamps, read as they are asked for.

        Each symbol reads its files by itself: symbols advance independently, and none has to be kept in memory
        while another waits.
        """
        files = [file for file in self._files if instrument_id in file.instrument_ids]
        return heapq.merge(*(self._read(file, instrument_id) for file in files), key=lambda item: item.ts_ns)

    def _read(self, file: _File, instrument_id: str) -> Iterator[TapeItem]:
        others = tuple(
            b'{"stream":"%s@' % other.lower().encode() for other in file.instrument_ids if other != instrument_id
        )
        # A line of no symbol is reported once, by the symbol that comes first.
        reports = instrument_id == file.instrument_ids[0]
        number = 0
        try:
            with _open(file.path) as lines:
                for number, line in enumerate(lines, start=1):
                    body = line[line.find(b" ") + 1 :]
                    if others and body.startswith(others):
                        continue
                    try:
                        owner, item = parse_line(line, file.instrument_ids[0])
                    except ValueError as error:
                        if reports:
                            self.rejects.add(f"{file.path}:{number}", str(error))
                        continue
                    if owner == instrument_id:
                        yield item
        except (EOFError, OSError, zlib.error) as error:
            if reports:
                self.rejects.add(f"{file.path}:{number + 1}", f"the file is damaged from here on ({error})")


def open_recording(paths: Sequence[Path]) -> Recording:
    """Look into each file. Raises ``RecordingError`` for one that is missing, unreadable or begins with no
    usable line; lines that are bad further on are counted and skipped when they are reached."""
    files = []
    instruments: dict[str, Instrument] = {}
    for path in paths:
        head = _head(path)
        owners = list(dict.fromkeys(owner for owner, _ in head))
        files.append(_File(path, head[0][1].ts_ns, tuple(owners)))
        for owner in owners:
            if owner not in instruments:
                instruments[owner] = _instrument(path, owner, [item for name, item in head if name == owner])
    return Recording(files, instruments)


def parse_line(line: bytes, file_instrument_id: str) -> tuple[str, TapeItem]:
    """(instrument id, item) of one line. Raises ``ValueError`` saying what is wrong with it."""
    timestamp, _, body = line.partition(b" ")
    if not timestamp.isdigit():
        raise ValueError("not of the form '<local_ts ns> <json>'")
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error})") from None
    ts_ns = int(timestamp)
    if not isinstance(message, dict):
        raise ValueError("neither a stream frame nor a depth snapshot")
    if "lastUpdateId" in message:
        return file_instrument_id, TapeSnapshot(ts_ns, _snapshot(message))
    name, data = message.get("stream"), message.get("data")
    if not isinstance(name, str) or not isinstance(data, dict):
        raise ValueError("neither a stream frame nor a depth snapshot")
    if name.endswith(SNAPSHOT_SUFFIX):
        return name.removesuffix(SNAPSHOT_SUFFIX).upper(), TapeSnapshot(ts_ns, _snapshot(data))
    stream = parse_stream(name)
    if stream is None:
        raise ValueError(f"unknown stream {name!r}")
    instrument_id, channel = stream
    frame = frame_of(channel, data)
    levels = (_levels(data, "b"), _levels(data, "a")) if channel in DEPTH_CHANNELS else None
    return instrument_id, TapeFrame(ts_ns, frame, levels)


def _snapshot(message: dict[str, object]) -> Snapshot:
    last_update_id = message.get("lastUpdateId")
    if not isinstance(last_update_id, int):
        raise ValueError("a depth snapshot needs an integer lastUpdateId")
    return Snapshot(last_update_id, _levels(message, "bids"), _levels(message, "asks"))


def _levels(message: dict[str, object], key: str) -> Levels:
    levels = message.get(key)
    if not isinstance(levels, list):
        raise ValueError(f"{key} must be a list of [price, size]")
    try:
        texts = [text for price, size in levels for text in (price, size)]
        plain = not texts or "".join(texts).replace(".", "").isdigit()
        # All at once: a look at each text by itself took a fifth of the time of reading a recording.
        numbers = [float(text) for text in texts] if plain else None
    except (TypeError, ValueError):
        numbers = None
    if numbers is None:
        raise ValueError(f"{key} must be a list of [price, size], both as texts of digits")
    return levels


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Iterator[bytes]]:
    """The file's lines, unpacked if it is gzip."""
    with path.open("rb") as file:
        if file.peek(2)[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
                yield iter(unpacked)
        else:
            yield iter(file)


def _head(path: Path) -> list[tuple[str, TapeItem]]:
    """The usable ones of the file's first lines; the very first must be usable."""
    head: list[tuple[str, TapeItem]] = []
    bare: list[int] = []
    try:
        with _open(path) as lines:
            for number, line in enumerate(islice(lines, _HEAD_LINES), start=1):
                try:
                    owner, item = parse_line(line, "")
                except ValueError as error:
                    if number == 1:
                        raise RecordingError(f"{path}:1: {error}") from None
                    continue
                if not owner:
                    bare.append(len(head))
                head.append((owner, item))
    except FileNotFoundError:
        raise RecordingError(f"{path}: no such recording") from None
    except (EOFError, OSError, zlib.error) as error:
        if not head:
            raise RecordingError(f"{path}:1: cannot be read ({error})") from None
    owner = next((owner for owner, _ in head if owner), "")
    if not owner:
        raise RecordingError(f"{path}:1: no stream frame within the first {_HEAD_LINES} lines")
    for index in bare:
        head[index] = (owner, head[index][1])
    return head


def _instrument(path: Path, instrument_id: str, items: Sequence[TapeItem]) -> Instrument:
    """Tick and lot as the decimals that the recording itself uses."""
    try:
        base, quote = split_id(instrument_id)
    except ValueError as error:
        raise RecordingError(f"{path}: {error}") from None
    levels: Levels = []
    for item in items:
        if isinstance(item, TapeSnapshot):
            levels += item.snapshot.bids + item.snapshot.asks
        elif item.levels is not None:
            levels += item.levels[0] + item.levels[1]
    prices = [price for price, _ in levels] or ["1.00"]
    sizes = [size for _, size in levels] or ["1.00"]
    return Instrument(base, quote, max(map(_decimals, prices)), max(map(_decimals, sizes)), float(prices[0]))


def _decimals(text: str) -> int:
    return len(text.partition(".")[2].rstrip("0"))
