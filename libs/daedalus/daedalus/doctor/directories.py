"""Which directories a configuration writes to, and whether they suit."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from daedalus.doctor.disks import Directory, Kind
from daedalus.doctor.findings import Finding, Level, error, info, ok, warning
from daedalus.doctor.memory import MIB, mebibytes
from daedalus_common.config import Config

LEAST_FREE_BYTES = 1024 * MIB
"""Below this a burst, a rewrite of the append-only file and a spool that fills meet a full disk within minutes."""

DAYS_TO_WARN = 7

BRONZE_BYTES_A_MARKET_AND_DAY = 376_000_000
"""Measured (docs/benchmarks.md): 19.9 updates/s of 50 levels, 219 bytes each at the default flush interval."""

DAYS_TO_WARN_OF_FILES = 30
CHANNELS = 4
"""Order book, trades, ticker and control: a file each at every flush in which something happened."""

_FAT = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk"})
_WEAR = "ten markets write 23 GB a day to the append-only file (measured), which wears a card out and stalls on it"


@dataclass(frozen=True, slots=True)
class Load:
    """What of the configuration decides how much comes to lie where."""

    markets: int
    flush: timedelta
    spool_bytes: int


def directories_of(config: Config, here: Path) -> dict[Path, tuple[str, ...]]:
    """Absolute path -> the keys that name it; a store in a bucket has none. Relative paths start `here`."""
    storage, ingestion = config.storage, config.ingestion
    named: list[tuple[str, Path]] = [
        (f"storage.{role}", store.base_dir)
        for role, store in (
            ("ingestion_storage", storage.ingestion_storage),
            ("etl_storage_output", storage.etl_storage_output),
        )
        if store.backend == "local"
    ]
    named.append(("storage.paths.state_dir", storage.paths.state_dir))
    if ingestion.spool_max_mb:
        named.append(("ingestion.spool_dir", ingestion.spool_dir or storage.paths.state_dir / "spool"))
    found: dict[Path, tuple[str, ...]] = {}
    for key, path in named:
        place = (here / path).resolve()
        found[place] = (*found.get(place, ()), key)
    return found


def judge_directory(directory: Directory, load: Load) -> list[Finding]:
    """One finding where all is well."""
    subject = f"directory {directory.path}"
    found = [_judge_kind(directory, subject), _judge_room(directory, subject, load)]
    if all(each.level is Level.OK for each in found):
        found = [ok(subject, "; ".join(each.seen for each in found))]
    if "storage.ingestion_storage" in directory.uses and load.markets:
        found += _judge_files(directory, subject, load)
    return [*_judge_access(directory, subject), *found]


def _judge_access(directory: Directory, subject: str) -> list[Finding]:
    mount = directory.mount
    key = directory.uses[0]
    if mount is not None and mount.read_only:
        return [
            error(
                subject, f"{mount.point} is mounted read-only",
                f"a file system with errors is: look at dmesg, check the disk with fsck; else mount -o remount,rw "
                f"{mount.point}",
            )
        ]  # fmt: skip
    if directory.writable:
        return []
    seen = "this user may not write there" if directory.exists else "does not exist, and this user may not make it"
    return [
        error(subject, seen, f"sudo install -d -o USER {directory.path} for the user of the services, or set {key}")
    ]


def _judge_kind(directory: Directory, subject: str) -> Finding:
    mount, kind = directory.mount, directory.kind
    where = kind.value if mount is None else f"{kind.value}, {mount.file_system} at {mount.point}"
    seen = f"{where} ({', '.join(directory.uses)})"
    key = directory.uses[0]
    if mount is not None and mount.file_system in _FAT:
        return error(
            subject, f"{seen}: no hard links, which creating an object without ever replacing one needs",
            f"set {key} to a directory on ext4, xfs or btrfs",
        )  # fmt: skip
    if kind is Kind.MEMORY:
        return error(subject, f"{seen}: gone with the next reboot", f"set {key} to a directory on a disk")
    if kind is Kind.SD_CARD:
        return warning(subject, f"{seen}: {_WEAR}", f"set {key} to a directory on an SSD (USB 3 or NVMe)")
    if kind is Kind.LAYER:
        return warning(subject, f"{seen}: gone with the container", f"mount a volume at {directory.path}")
    if kind is Kind.NETWORK:
        return warning(
            subject, f"{seen}: what counts as written is up to its server, and so is whether it answers",
            f"set {key} to a directory on a disk of this machine; for a shared store use an S3 server",
        )  # fmt: skip
    if kind is Kind.USB:
        return info(subject, f"{seen}: the kernel does not know whether it turns", "no USB stick: it wears out as fast")
    return ok(subject, seen)


def _judge_room(directory: Directory, subject: str, load: Load) -> Finding:
    room = directory.room
    spool_bytes = load.spool_bytes if "ingestion.spool_dir" in directory.uses else 0
    seen = f"{mebibytes(room.free_bytes)} free of {mebibytes(room.total_bytes)}"
    if spool_bytes:
        seen += f", of which the spool may take {mebibytes(spool_bytes)}"
    fix = f"free some space, or set {directory.uses[0]} to a directory on a larger disk"
    if room.free_bytes < LEAST_FREE_BYTES + spool_bytes:
        return error(subject, seen, fix + (", or lower ingestion.spool_max_mb" if spool_bytes else ""))
    if "storage.ingestion_storage" not in directory.uses or not load.markets:
        return ok(subject, seen)
    days = (room.free_bytes - spool_bytes) / (load.markets * BRONZE_BYTES_A_MARKET_AND_DAY)
    seen += f"; Bronze of {load.markets} markets at 20 updates/s each fills that in about {days:.0f} days"
    return ok(subject, seen) if days >= DAYS_TO_WARN else warning(subject, seen, fix)


def _judge_files(directory: Directory, subject: str, load: Load) -> list[Finding]:
    free = directory.room.free_files
    a_day = round(load.markets * CHANNELS * timedelta(days=1) / load.flush)
    if free is None or free / a_day >= DAYS_TO_WARN_OF_FILES:
        return []
    seconds = load.flush.total_seconds()
    return [
        warning(
            subject, f"room for {free:,} more files; {load.markets} markets make up to {a_day:,} a day of Bronze, "
            f"one a channel each {seconds:g} s",
            "raise ingestion.flush_interval_seconds, to 60 or more: what waits is safe on the server meanwhile",
        )
    ]  # fmt: skip
