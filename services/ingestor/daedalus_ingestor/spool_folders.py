"""The folders of a spool: how they are called, and that one process at a time has one.

binanceus:BTC-USDT@<log id>                   what a market has spooled for the sequence of this log
binanceus:BTC-USDT@<log id>.late-<anything>   what came too late for it
"""

import asyncio
import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from daedalus_ingestor.spool_files import CURSOR
from daedalus_ingestor.spool_io import sync_folder

_LOCK: Final = "lock"
_LATE: Final = ".late-"
_LOCK_TRIES: Final = 20
_LOCK_PAUSE_SECONDS: Final = 0.1
"""Whoever looks whether a folder is late has it for some milliseconds."""


@dataclass(frozen=True, slots=True)
class FolderName:
    """What a folder's name says; `market` is the market's name."""

    market: str
    log_id: str
    is_late: bool

    @classmethod
    def of(cls, name: str) -> "FolderName | None":
        """None: no folder of a spool."""
        market, at, rest = name.rpartition("@")
        log_id, late, _ = rest.partition(_LATE)
        return cls(market, log_id, bool(late)) if at and market and log_id else None


def in_time_name(market: str, log_id: str) -> str:
    return f"{market}@{log_id}"


def new_late_name(market: str, log_id: str, epoch: int) -> str:
    """The server knows a late folder by its name: no two of all machines may be the same."""
    return f"{in_time_name(market, log_id)}{_LATE}{epoch}-{uuid4().hex[:12]}"


async def lock_patiently(folder: Path) -> int:
    """`lock` of a folder that another may be looking at right now. Raises BlockingIOError or other OSErrors."""
    for _ in range(_LOCK_TRIES):
        with suppress(BlockingIOError):
            return lock(folder)
        await asyncio.sleep(_LOCK_PAUSE_SECONDS)
    return lock(folder)


def lock(folder: Path) -> int:
    """Creates the folder where it is missing and locks it; `os.close` of the result gives it free.

    Raises BlockingIOError where another process has it, or other OSErrors.
    """
    while True:
        folder.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # its owner removed it a moment ago: once more, from the beginning
            return _locked(folder)


def lock_existing(folder: Path) -> int | None:
    """As `lock`, but never creates the folder. None: it is gone, or another process has it."""
    with suppress(FileNotFoundError, BlockingIOError):
        return _locked(folder)
    return None


def remove_empty(folder: Path) -> bool:
    """Removes a folder that is locked here and has no events; False: there is something else in it."""
    if any(path.name not in (CURSOR, _LOCK) for path in folder.iterdir()):
        return False
    (folder / CURSOR).unlink(missing_ok=True)
    (folder / _LOCK).unlink()
    folder.rmdir()
    sync_folder(folder.parent)
    return True


def size_of(folder: Path) -> int:
    """The bytes of the files in it; what another process deletes meanwhile counts nothing."""
    with suppress(FileNotFoundError):
        return sum(file_size(file) or 0 for file in folder.iterdir())
    return 0


def file_size(file: Path) -> int | None:
    """None: another process has deleted it."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _locked(folder: Path) -> int:
    held = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), (folder / _LOCK).stat()):
            return held
        raise FileNotFoundError(f"{folder} is another by now")
    except OSError:
        os.close(held)
        raise
