"""A job: what makes two runs the same computation, so that the second goes on where the first ended."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import msgspec

from daedalus.etl.checkpoint import SUFFIX, WAY_OUT, Checkpoint, read_checkpoint, write_checkpoint
from daedalus.etl.problems import EtlError, UsageError
from daedalus.etl.targets import Target
from daedalus.etl.task import Parameters
from daedalus_common.markets import Market

_DESCRIPTION = "job.json"
_LOCK = "lock"


class JobSpec(msgspec.Struct, frozen=True):
    """What a computation depends on. Where it ends is not among it: a run with a later end goes on from an earlier."""

    input: str
    output: str
    targets: tuple[Target, ...]
    parameters: Parameters
    begin: date | None
    feature_parameters: str = ""
    """A hash of the configuration's, where they decide; empty where the recorded ones do."""

    @property
    def id(self) -> str:
        """12 hex digits."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]


class JobFolder:
    """The checkpoints of one job: `state_dir/etl/<job>/<market>.checkpoint`."""

    def __init__(self, state_dir: Path, spec: JobSpec) -> None:
        self.id = spec.id
        self.path = state_dir / "etl" / spec.id
        self._spec = spec

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one run works on a job; raises EtlError while another one does. Ends with its process, however."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EtlError(f"cannot keep checkpoints in {self.path}: {error.strerror}; {WAY_OUT}") from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EtlError(f"another run works on this very job; its checkpoints are in {self.path}") from None
            self._describe()
            yield
        finally:
            os.close(descriptor)

    def read(self, market: Market) -> Checkpoint | None:
        """The market's checkpoint, None for a market that has none. Raises UsageError or EtlError."""
        path = self._file(market)
        found = read_checkpoint(path)
        if found is not None and found.market != market:
            raise UsageError(
                f"{market.exchange} {market.symbol}: the checkpoint {path} is of {found.market.symbol}, which has the "
                "same name in paths; write the symbol as it was written before, or compute it into another --output"
            )
        return found

    def write(self, checkpoint: Checkpoint) -> None:
        write_checkpoint(self._file(checkpoint.market), checkpoint)

    def _file(self, market: Market) -> Path:
        return self.path / f"{market.name.replace(':', '_', 1)}{SUFFIX}"

    def _describe(self) -> None:
        """For people who wonder what a folder is; nothing reads it."""
        text = msgspec.json.format(msgspec.json.encode(self._spec), indent=2)
        try:
            (self.path / _DESCRIPTION).write_bytes(text + b"\n")
        except OSError as error:
            raise EtlError(f"cannot keep checkpoints in {self.path}: {error.strerror}; {WAY_OUT}") from error
