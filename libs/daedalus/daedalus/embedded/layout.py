"""The data directory of `daedalus up`: where things lie in it, and whose it is.

bronze/ silver/ gold/ quality/   what was recorded (local-disk store)
redis/                           the embedded server's append-only file
spool/                           what the ingestor could not publish, until it can
logs/<service>.log               what each child writes; daedalus.log: what the supervisor did about them
run/                             lock, effective configuration, the last run's ledger and summary
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


class DataDirError(Exception):
    """The data directory cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one data directory, all absolute."""

    root: Path

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def config(self) -> Path:
        """The configuration that the services of this run have."""
        return self.run / "daedalus.yaml"

    @property
    def valkey_config(self) -> Path:
        return self.run / "valkey.conf"

    @property
    def ledger(self) -> Path:
        """What the simulator said that it sent."""
        return self.run / "ledger.json"

    @property
    def summary(self) -> Path:
        return self.run / "summary.json"

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"


class DataDir:
    """A data directory that is ours alone while this is entered.

    The lock belongs to the open file, not to the process: children that inherit `lock_fd` keep it should they outlive
    us, so that no second server ever writes to the same append-only file.
    """

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root.absolute())
        self._file: int | None = None

    @property
    def lock_fd(self) -> int:
        """For the children to inherit; RuntimeError outside `with`."""
        if self._file is None:
            raise RuntimeError("the data directory is not locked")
        return self._file

    def __enter__(self) -> Self:
        """Makes the folders and takes the lock. Raises DataDirError."""
        layout = self.layout
        try:
            for folder in (layout.root, layout.redis, layout.run, layout.logs):
                folder.mkdir(parents=True, exist_ok=True)
            # The configuration holds passwords, the logs may name accounts.
            layout.run.chmod(0o700)
            file = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirError(
                f"cannot write to the data directory {layout.root}: {error.strerror} ({error.filename}); "
                "give another with --data-dir, or make it writable for this user"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise DataDirError(
                f"the data directory {layout.root} is in use by another `daedalus up` (pid {owner}) or by services it "
                "left behind; stop that one, or give another directory with --data-dir"
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def write_private(path: Path, text: str) -> None:
    """Replaces a file that only this user may read."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
