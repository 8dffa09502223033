"""What a market's computation has reached, in a file that is replaced as a whole and never half written.

line 1: {"format": "daedalus-etl-checkpoint", "version": 1, "sha256": "…", "bytes": n}
then the checkpoint as MessagePack, of that length and hash
"""

import hashlib
import os
from pathlib import Path

import msgspec

from daedalus.etl.chunks import BadSegment
from daedalus.etl.problems import EtlError, UsageError
from daedalus.etl.task import StoredState, Task
from daedalus_common.markets import Market

FORMAT = "daedalus-etl-checkpoint"
VERSION = 1
SUFFIX = ".checkpoint"
WAY_OUT = "free some space, or choose another --state-dir"

_KEPT_BAD = 1000
"""Names of damaged segments kept; more are only counted."""


class Checkpoint(msgspec.Struct, frozen=True):
    """One market of one job: where it is, and the task that was under way."""

    market: Market
    owner: str
    """The job, and the attempt at it: parts of an attempt before the last beginning anew are not ours."""
    number: int = 0
    """Of the last task done."""
    place: bytes = b""
    """The encoded position of the last event; empty for none."""
    hour: int | None = None
    consumed: tuple[str, ...] = ()
    """Segments of that hour that are read."""
    first_ts: int = 0
    """ns of the first event of all that were read, and of the last."""
    last_ts: int = 0
    state: StoredState | None = None
    seqs: dict[str, int] = {}
    events: int = 0
    rows: dict[str, int] = {}
    missing: int = 0
    bad_count: int = 0
    bad_segments: tuple[BadSegment, ...] = ()
    refused_rows: int = 0
    pending: Task | None = None
    deleting: tuple[str, ...] = ()
    """Segments of finished tasks that are yet to be deleted."""

    @property
    def rejected(self) -> int:
        """How much of the input could not be used, in pieces of any kind."""
        return self.bad_count + self.refused_rows + self.missing

    def with_bad_segments(self, found: tuple[BadSegment, ...]) -> "Checkpoint":
        kept = (*self.bad_segments, *found)[:_KEPT_BAD]
        return msgspec.structs.replace(self, bad_segments=kept, bad_count=self.bad_count + len(found))


class _Header(msgspec.Struct):
    format: str
    version: int
    sha256: str = ""
    bytes: int = 0


def read_checkpoint(path: Path) -> Checkpoint | None:
    """None where there is no file. Raises UsageError naming the file and the way out for one that cannot be used."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EtlError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    head, _, body = content.partition(b"\n")
    try:
        header = msgspec.json.decode(head, type=_Header)
    except msgspec.DecodeError:
        raise _unusable(path, "is damaged: its first line is no header") from None
    if header.format != FORMAT:
        raise _unusable(path, f"is of another kind: {header.format[:40]!r}")
    if header.version != VERSION:
        raise _unusable(path, f"is of version {header.version}, and this program knows version {VERSION}")
    if len(body) != header.bytes or hashlib.sha256(body).hexdigest() != header.sha256:
        raise _unusable(path, f"is damaged: its {len(body)} bytes are not what its header says")
    try:
        return msgspec.msgpack.decode(body, type=Checkpoint)
    except msgspec.DecodeError as error:
        raise _unusable(path, f"cannot be understood: {error}") from None


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Durable when it returns: whenever the machine stops, the file is the old one or this one. Raises EtlError."""
    body = msgspec.msgpack.encode(checkpoint)
    header = _Header(FORMAT, VERSION, hashlib.sha256(body).hexdigest(), len(body))
    temp = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temp.open("wb") as file:
            file.write(msgspec.json.encode(header) + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise EtlError(f"cannot keep the checkpoint {path}: {error.strerror}; {WAY_OUT}") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, what: str) -> UsageError:
    return UsageError(
        f"the checkpoint {path} {what}; give --restart to compute from the beginning "
        "(with --replace where its parts are to be written anew)"
    )
