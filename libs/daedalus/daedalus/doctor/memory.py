"""Memory, swap, and whether it can be limited by group."""

import re
from dataclasses import dataclass
from pathlib import Path

from daedalus.doctor.files import read_number, read_text
from daedalus.doctor.findings import Finding, error, info, ok, warning

MIB = 2**20

LITTLE_BYTES = 900 * MIB
"""Three services and the server took 375 MB with ten markets (docs/benchmarks.md), the compactor 120; the system takes
as much again."""

TIGHT_BYTES = 4096 * MIB
"""Up to here a peak without swap ends with the kernel killing a process."""

OTHERS_BYTES = 512 * MIB
"""What the system and the other services hold beside one that has grown to its critical size."""

_PI = "Raspberry Pi"
_MEMORY_OFF = "cgroup_disable=memory"


@dataclass(frozen=True, slots=True)
class Memory:
    """`limit_bytes`: of the control group that we are in, such as a container's; None without one."""

    total_bytes: int
    swap_bytes: int
    swap_names: tuple[str, ...]
    limit_bytes: int | None = None

    @property
    def usable_bytes(self) -> int:
        return self.total_bytes if self.limit_bytes is None else min(self.total_bytes, self.limit_bytes)


@dataclass(frozen=True, slots=True)
class MemoryGroups:
    """Whether control groups can account for memory; `command_line` is the kernel's."""

    enabled: bool
    command_line: str


def read_memory(root: Path) -> Memory | None:
    """None where there is no /proc/meminfo."""
    sizes = dict(re.findall(r"^(\w+): +(\d+) kB", read_text(root, "/proc/meminfo") or "", re.MULTILINE))
    if "MemTotal" not in sizes:
        return None
    swaps = (read_text(root, "/proc/swaps") or "").splitlines()[1:]
    return Memory(
        total_bytes=int(sizes["MemTotal"]) * 1024,
        swap_bytes=int(sizes.get("SwapTotal", "0")) * 1024,
        swap_names=tuple(line.split()[0] for line in swaps if line.strip()),
        limit_bytes=_limit(root),
    )


def read_groups(root: Path) -> MemoryGroups | None:
    """None where the kernel has no control groups at all."""
    controllers = read_text(root, "/sys/fs/cgroup/cgroup.controllers")
    table = read_text(root, "/proc/cgroups")
    if controllers is None and table is None:
        return None
    # The second hierarchy first: since 6.12 the table leaves memory out even where it works.
    by_table = re.search(r"^memory\s+\d+\s+\d+\s+1$", table or "", re.MULTILINE) is not None
    enabled = "memory" in controllers.split() if controllers is not None else by_table
    return MemoryGroups(enabled, read_text(root, "/proc/cmdline") or "")


def judge_memory(memory: Memory) -> list[Finding]:
    """Size and swap."""
    size = f"{mebibytes(memory.usable_bytes)}"
    if memory.limit_bytes is not None and memory.limit_bytes < memory.total_bytes:
        size += f" (the control group's limit; the machine has {mebibytes(memory.total_bytes)})"
    if memory.usable_bytes < LITTLE_BYTES:
        found = warning(
            "memory", f"{size}: little for the services and a server",
            "use a machine with 2 GB or more, or keep Redis and the featurizer on another one",
        )  # fmt: skip
    else:
        found = ok("memory", size)
    return [found, _judge_swap(memory)]


def judge_thresholds(memory: Memory, warning_mb: float, critical_mb: float) -> Finding:
    """Whether the supervisor's thresholds come before the kernel's."""
    subject = "supervisor.memory_critical_mb"
    room = memory.usable_bytes - OTHERS_BYTES
    if critical_mb * MIB <= room:
        return ok(subject, f"a service over {critical_mb:g} MB is restarted; it is warned of at {warning_mb:g} MB")
    critical = max(64, int(room * 0.75) // MIB)
    return warning(
        subject,
        f"{critical_mb:g} MB for one service of {mebibytes(memory.usable_bytes)}: the kernel would kill something "
        "before the supervisor restarts it cleanly",
        f"set supervisor.memory_critical_mb to {critical} and supervisor.memory_warning_mb to {critical * 3 // 4}",
    )


def judge_groups(groups: MemoryGroups, model: str | None) -> Finding:
    """Whether `MemoryMax=` and a container's memory limit do anything."""
    subject = "cgroup memory"
    if groups.enabled:
        return ok(subject, "enabled: limits of systemd and containers hold")
    seen = "disabled: MemoryMax= of systemd and mem_limit of containers do nothing"
    words = groups.command_line.split()
    if "cgroup_enable=memory" in words and _MEMORY_OFF in words[words.index("cgroup_enable=memory") :]:
        fix = f"{_MEMORY_OFF} comes after cgroup_enable=memory on the kernel's command line and wins: remove it; reboot"
    elif model is not None and _PI in model:
        fix = (
            "append ` cgroup_enable=memory cgroup_memory=1` to the one line of /boot/firmware/cmdline.txt "
            "(before bookworm: /boot/cmdline.txt) and reboot"
        )
    else:
        fix = f"take {_MEMORY_OFF} off the kernel's command line, or boot a kernel with CONFIG_MEMCG"
    return warning(subject, seen, fix)


def judge_pages(page_size_bytes: int, machine: str) -> Finding:
    """What runs is tried by `wheels`; here only what to know."""
    subject = "page size"
    seen = f"{page_size_bytes // 1024} KiB"
    if page_size_bytes > 16 * 1024:
        return error(
            subject, f"{seen}: nobody has run these packages on such pages",
            "boot a kernel with pages of 4 KiB (or 16 KiB, as the Raspberry Pi 5 has)",
        )  # fmt: skip
    if page_size_bytes > 4096 and machine == "aarch64":
        return info(
            subject, f"{seen}: the installed packages run on them, a foreign Redis may have been built for 4 KiB only",
            "where one does not start (jemalloc: Unsupported system page size), add kernel=kernel8.img to "
            "/boot/firmware/config.txt and reboot",
        )  # fmt: skip
    return ok(subject, seen)


def mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes // MIB} MiB"


def _judge_swap(memory: Memory) -> Finding:
    names = ", ".join(memory.swap_names)
    if memory.swap_bytes:
        return ok("swap", f"{mebibytes(memory.swap_bytes)} on {names}" if names else mebibytes(memory.swap_bytes))
    if memory.total_bytes > TIGHT_BYTES:
        return ok("swap", "none; there is memory enough")
    return warning(
        "swap", f"none, with {mebibytes(memory.total_bytes)} of memory: a peak ends with a killed process",
        "switch on compressed swap in memory: apt-get install systemd-zram-generator, write the line [zram0] to "
        "/etc/systemd/zram-generator.conf, and reboot",
    )  # fmt: skip


def _limit(root: Path) -> int | None:
    for line in (read_text(root, "/proc/self/cgroup") or "").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            return read_number(root, f"/sys/fs/cgroup{path.rstrip('/')}/memory.max")
    return None
