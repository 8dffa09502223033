"""Writes a synthetic run as a recording, so that it can be replayed: every frame of every stream."""

import gzip
from pathlib import Path

import orjson

from daedalus_simulator.clock import Clock
from daedalus_simulator.frames import Frame, stream_name
from daedalus_simulator.market import Snapshot
from daedalus_simulator.tape import SNAPSHOT_SUFFIX


def open_tape(path: Path) -> gzip.GzipFile:
    """A new gzip file. Raises ``OSError`` if it cannot be created."""
    # Level 1: 40 MB/s on one core, three times as fast as the default and a tenth larger.
    return gzip.GzipFile(path, "wb", compresslevel=1)


class Recorder:
    """Appends ``<local_ts ns> <json>`` lines to a tape."""

    def __init__(self, tape: gzip.GzipFile, clock: Clock) -> None:
        self._tape = tape
        self._clock = clock

    def snapshot(self, instrument_id: str, snapshot: Snapshot) -> None:
        self._line(f"{instrument_id.lower()}{SNAPSHOT_SUFFIX}", orjson.dumps(snapshot.as_json()))

    def frame(self, instrument_id: str, frame: Frame) -> None:
        self._line(stream_name((instrument_id, frame.channel)), frame.payload)

    def _line(self, name: str, payload: bytes) -> None:
        self._tape.write(b'%d {"stream":"%s","data":%s}\n' % (self._clock.wall_ns(), name.encode(), payload))
