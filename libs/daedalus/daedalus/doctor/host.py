"""One host, as far as it matters to what runs on it: read once, judged by pure functions."""

import re
from dataclasses import dataclass
from pathlib import Path

from daedalus.doctor.files import names, read_number, read_text
from daedalus.doctor.findings import Finding, info, ok, warning
from daedalus.doctor.kernel import Clock, Kernel, OpenFiles
from daedalus.doctor.memory import Memory, MemoryGroups, read_groups, read_memory
from daedalus.doctor.wheels import Processor

_SERVER_FILES = 10_032
"""10,000 clients, the servers' default, and the 32 files of their own; with less they take fewer clients."""

_SERVICE_FILES = 1024
"""A socket for each exchange and store thread, a spool file for each market, and room."""


@dataclass(frozen=True, slots=True)
class Host:
    """None stands for what this system does not tell."""

    system: str
    model: str | None
    processor: Processor
    memory: Memory | None
    memory_groups: MemoryGroups | None
    clock: Clock
    has_rtc: bool
    open_files: OpenFiles
    overcommit_memory: int | None
    huge_pages: str | None
    """`always`, `madvise`, `never`"""
    undervoltage: bool | None
    """Whether a Raspberry Pi gets too little voltage right now."""
    user_id: int


def read_host(root: Path, kernel: Kernel) -> Host:
    """`root` holds /proc and /sys: `/`, or a copy of another machine's."""
    return Host(
        system=kernel.system,
        model=read_text(root, "/proc/device-tree/model") or read_text(root, "/sys/class/dmi/id/product_name"),
        processor=Processor(kernel.machine, _features(root), kernel.page_size_bytes, kernel.python_bits),
        memory=read_memory(root),
        memory_groups=read_groups(root),
        clock=kernel.clock,
        # Elsewhere than on Linux there is always one.
        has_rtc=kernel.system != "Linux" or bool(names(root, "/sys/class/rtc")),
        open_files=kernel.open_files,
        overcommit_memory=read_number(root, "/proc/sys/vm/overcommit_memory"),
        huge_pages=_chosen(read_text(root, "/sys/kernel/mm/transparent_hugepage/enabled")),
        undervoltage=_undervoltage(root),
        user_id=kernel.user_id,
    )


def judge_open_files(limit: OpenFiles, server_here: bool) -> Finding:
    """`server_here`: whether Redis runs, or will, on this host."""
    subject = "open files"
    seen = "any number" if limit.soft < 0 else f"{limit.soft:,} a process"
    fix = "ulimit -n 65536 before the start; deploy/systemd/daedalus.service has LimitNOFILE=65536"
    if 0 <= limit.soft < _SERVICE_FILES:
        return warning(subject, seen, fix)
    if server_here and 0 <= limit.hard < _SERVER_FILES:
        return warning(subject, f"{seen}, and no more than {limit.hard:,}: a server takes fewer clients", fix)
    return ok(subject, seen)


def judge_server_host(overcommit_memory: int | None, huge_pages: str | None) -> list[Finding]:
    """Kernel settings that matter where Redis or Valkey runs on this host."""
    found = []
    if overcommit_memory is not None:
        found.append(_judge_overcommit(overcommit_memory))
    if huge_pages == "always":
        found.append(
            info(
                "transparent huge pages", "always: Redis >= 6.2 and Valkey switch them off for themselves; a server "
                "told not to (disable-thp no) answers late while it rewrites its file",
                "leave disable-thp at yes, or: echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
            )
        )  # fmt: skip
    elif huge_pages is not None:
        found.append(ok("transparent huge pages", huge_pages))
    return found


def judge_voltage(undervoltage: bool | None) -> list[Finding]:
    """Nothing where no sensor tells."""
    if undervoltage is None:
        return []
    if not undervoltage:
        return [ok("power supply", "voltage is well")]
    return [
        warning(
            "power supply", "too little voltage: the processor is slowed, USB disks may vanish",
            "use the official power supply and a short cable, an SSD with a supply of its own; then "
            "`vcgencmd get_throttled` says throttled=0x0 after a restart",
        )
    ]  # fmt: skip


def judge_user(user_id: int) -> list[Finding]:
    """Root may write everywhere: the answers would not be those of the services."""
    if user_id:
        return []
    return [
        info(
            "user", "root, who may write anywhere", "ask again as the user that the services run as (sudo -u daedalus)"
        )
    ]


def _judge_overcommit(mode: int) -> Finding:
    subject = "vm.overcommit_memory"
    if mode == 1:
        return ok(subject, "1")
    return warning(
        subject, f"{mode}: rewriting the append-only file forks the server, which may be refused when memory is short",
        "echo vm.overcommit_memory=1 | sudo tee /etc/sysctl.d/60-daedalus.conf && sudo sysctl --system",
    )  # fmt: skip


def _features(root: Path) -> frozenset[str]:
    """`flags` on x86, `Features` on ARM; empty where the system does not list them."""
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", read_text(root, "/proc/cpuinfo") or "", re.MULTILINE)
    return frozenset(line[1].split()) if line else frozenset()


def _chosen(text: str | None) -> str | None:
    word = re.search(r"\[(\w+)\]", text or "")
    return word[1] if word else None


def _undervoltage(root: Path) -> bool | None:
    for name in names(root, "/sys/class/hwmon"):
        if read_text(root, f"/sys/class/hwmon/{name}/name") == "rpi_volt":
            alarm = read_number(root, f"/sys/class/hwmon/{name}/in0_lcrit_alarm")
            return None if alarm is None else bool(alarm)
    return None
