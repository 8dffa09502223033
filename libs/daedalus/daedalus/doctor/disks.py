"""What lies under a directory: file system, kind of the disk, room."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from daedalus.doctor.files import below, names, read_text

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "fuse.sshfs", "fuse.rclone"})
_MEMORY = frozenset({"tmpfs", "ramfs"})
_OCTAL = re.compile(r"\\([0-7]{3})")
_DEPTH = 8
"""Partition on RAID on LVM on encryption …: deeper than that is a loop."""


class Kind(StrEnum):
    """What a directory lies on."""

    NVME = "NVMe SSD"
    SSD = "SSD"
    EMMC = "eMMC"
    SD_CARD = "SD card"
    USB = "USB disk"
    ROTATING = "hard disk"
    VIRTUAL = "virtual disk"
    MEMORY = "memory"
    NETWORK = "network"
    LAYER = "container layer"
    UNKNOWN = "unknown disk"


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo. `device`: `major:minor`."""

    point: str
    file_system: str
    source: str
    device: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Room:
    """Of a file system. `free_files`: how many more it can hold; None where that has no bound (btrfs)."""

    total_bytes: int
    free_bytes: int
    free_files: int | None


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that something of ours will write to, and what is under it.

    `uses` are the keys of the configuration that name it; `path` is absolute.
    """

    uses: tuple[str, ...]
    path: str
    exists: bool
    writable: bool
    mount: Mount | None
    kind: Kind
    room: Room


def disk_room(path: Path) -> Room:
    """Of the machine that this runs on. What only root may fill does not count as free."""
    found = os.statvfs(path)
    files = found.f_favail if found.f_files else None
    return Room(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, files)


Measure = Callable[[Path], Room]


def read_directory(root: Path, uses: tuple[str, ...], path: Path, measure: Measure = disk_room) -> Directory:
    """`path` need not exist yet: then of the folder that it will be made in. Raises OSError."""
    exists = below(root, path).is_dir()
    nearest = next(each for each in (path, *path.parents) if below(root, each).exists())
    mount = find_mount(root, nearest)
    return Directory(
        uses=uses,
        path=str(path),
        exists=exists,
        writable=os.access(below(root, nearest), os.W_OK | os.X_OK),
        mount=mount,
        kind=Kind.UNKNOWN if mount is None else kind_of(root, mount),
        room=measure(below(root, nearest)),
    )


def find_mount(root: Path, path: Path) -> Mount | None:
    """What is mounted there; None where the system has no mountinfo."""
    found: Mount | None = None
    for line in (read_text(root, "/proc/self/mountinfo") or "").splitlines():
        mount = _parse(line)
        # A later line lies over an earlier one at the same point.
        if mount and path.is_relative_to(mount.point) and (not found or len(mount.point) >= len(found.point)):
            found = mount
    return found


def kind_of(root: Path, mount: Mount) -> Kind:
    """By the file system, or by the disk below it."""
    if mount.file_system in _MEMORY:
        return Kind.MEMORY
    if mount.file_system in _NETWORK:
        return Kind.NETWORK
    if mount.file_system == "overlay":
        return Kind.LAYER
    place = _block_device(root, mount)
    return Kind.UNKNOWN if place is None else _kind_of_disk(_disk_below(place))


def _parse(line: str) -> Mount | None:
    left, _, right = line.partition(" - ")
    place, kind = left.split(), right.split()
    if len(place) < 6 or len(kind) < 2:
        return None
    return Mount(
        point=_OCTAL.sub(lambda code: chr(int(code[1], 8)), place[4]),
        file_system=kind[0],
        source=kind[1],
        device=place[2],
        read_only="ro" in place[5].split(",") or "ro" in (kind[2].split(",") if len(kind) > 2 else ()),
    )


def _block_device(root: Path, mount: Mount) -> Path | None:
    """Its folder in /sys: by number, or by name on btrfs, which has a number of its own for each subvolume."""
    name = mount.source.rpartition("/")[2]
    mapped = (
        each
        for each in names(root, "/sys/class/block")
        if each.startswith("dm-") and read_text(root, f"/sys/class/block/{each}/dm/name") == name
    )
    links = [f"/sys/dev/block/{mount.device}", *(f"/sys/class/block/{each}" for each in (name, *mapped))]
    places = (below(root, link) for link in links)
    return next((place.resolve() for place in places if place.exists()), None)


def _disk_below(place: Path) -> Path:
    """The whole disk of a partition, RAID, LVM or encrypted device; the first of several."""
    for _ in range(_DEPTH):
        under = names(place, "slaves")
        if (place / "partition").exists():
            place = place.parent
        elif under:
            place = (place / "slaves" / under[0]).resolve()
        else:
            break
    return place


def _kind_of_disk(place: Path) -> Kind:
    name = place.name
    if name.startswith("nvme"):
        return Kind.NVME
    if name.startswith("mmcblk"):
        return Kind.SD_CARD if read_text(place, "device/type") == "SD" else Kind.EMMC
    if name.startswith(("vd", "xvd")):
        return Kind.VIRTUAL
    if name.startswith(("zram", "ram")):
        return Kind.MEMORY
    rotational = read_text(place, "queue/rotational")
    if name.startswith("sd") and rotational == "0":
        return Kind.SSD
    if name.startswith("sd") and "/usb" in str(place):
        # Adapters rarely pass on whether the disk turns, so that the kernel takes it for one that does.
        return Kind.USB
    return Kind.ROTATING if name.startswith("sd") and rotational == "1" else Kind.UNKNOWN
