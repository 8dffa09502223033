"""File trees of three machines, with what their kernels write to /proc and /sys."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from daedalus.doctor.kernel import Clock, Kernel, OpenFiles

GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """`root` holds /proc, /sys and some directories; `kernel` is what it answers."""

    root: Path
    kernel: Kernel

    def write(self, path: str, text: str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def folder(self, path: str) -> Path:
        place = self.root / path.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        return place

    def mount(self, line: str) -> None:
        """A line of mountinfo more; the mount point is made."""
        table = self.root / "proc/self/mountinfo"
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("a") as file:
            file.write(line + "\n")
        self.folder(line.split()[4].replace("\\040", " "))

    def block_device(self, place: str, number: str, files: dict[str, str], partition: str | None = None) -> None:
        """A disk in /sys/devices, found by its number (that of the partition if it has one) and by name."""
        disk = self.folder(f"/sys/devices/{place}")
        for name, text in files.items():
            self.write(f"/sys/devices/{place}/{name}", text)
        found = disk
        if partition is not None:
            found = self.folder(f"/sys/devices/{place}/{partition}")
            (found / "partition").write_text("2\n")
        for link in (f"/sys/dev/block/{number}", f"/sys/class/block/{found.name}"):
            place_of_link = self.root / link.lstrip("/")
            place_of_link.parent.mkdir(parents=True, exist_ok=True)
            place_of_link.symlink_to(found)

    def asked(self, **changes: object) -> "Machine":
        """The same with other answers of the kernel."""
        return replace(self, kernel=replace(self.kernel, **changes))  # type: ignore[arg-type]


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Machine]:
    """A machine about which nothing is known but what its kernel answers."""
    number = count()

    def make(**answers: object) -> Machine:
        known = Kernel("Linux", "x86_64", 64, 4096, OpenFiles(65_536, 524_288), Clock(True, 0.02), 1000)
        root = tmp_path / f"root-{next(number)}"
        root.mkdir()
        return Machine(root, known).asked(**answers)

    return make


@pytest.fixture
def pi4(machine: Callable[..., Machine]) -> Machine:
    """A Raspberry Pi 4 with 4 GB as it comes: everything on the SD card, memory accounting off, no NTP yet."""
    pi = machine(machine="aarch64", clock=Clock(False, 16.0), open_files=OpenFiles(1024, 1_048_576))
    pi.write("/proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0")
    pi.write(
        "/proc/cpuinfo",
        "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n"
        "CPU architecture: 8\nCPU part\t: 0xd08\n\nRevision\t: c03115\nModel\t\t: Raspberry Pi 4 Model B Rev 1.5\n",
    )
    pi.write("/proc/meminfo", "MemTotal:        3884360 kB\nMemFree:         2901000 kB\nSwapTotal:             0 kB\n")
    pi.write("/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
    pi.write(
        "/proc/cmdline", "coherent_pool=1M cgroup_disable=memory numa_policy=interleave root=PARTUUID=4b rootwait\n"
    )
    pi.write("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t76\t1\nmemory\t0\t76\t0\n")
    pi.write("/proc/self/cgroup", "0::/user.slice/user-1000.slice/session-3.scope\n")
    pi.write("/proc/sys/vm/overcommit_memory", "0\n")
    pi.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    pi.write("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n")
    pi.write("/sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    pi.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
    pi.mount("25 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw")
    pi.mount("33 25 0:29 / /run rw,nosuid,nodev shared:9 - tmpfs tmpfs rw,size=758712k")
    pi.mount("41 25 179:1 / /boot/firmware rw,relatime shared:20 - vfat /dev/mmcblk0p1 rw,fmask=0022")
    pi.block_device(
        "platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0",
        "179:2",
        {"queue/rotational": "0\n", "device/type": "SD\n"},
        partition="mmcblk0p2",
    )
    return pi


@pytest.fixture
def pi5(machine: Callable[..., Machine]) -> Machine:
    """A Raspberry Pi 5 with 8 GB that boots from an NVMe disk: pages of 16 KiB, all set up."""
    pi = machine(machine="aarch64", page_size_bytes=16_384)
    pi.write("/proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    pi.write(
        "/proc/cpuinfo",
        "processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm "
        "lrcpc dcpop asimddp\nCPU part\t: 0xd0b\n",
    )
    pi.write("/proc/meminfo", "MemTotal:        8255152 kB\nSwapTotal:       2097136 kB\n")
    pi.write(
        "/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0                  partition\t2097136\t0\t100\n"
    )
    pi.write("/proc/cmdline", "cgroup_disable=memory root=/dev/nvme0n1p2 cgroup_enable=memory\n")
    # Kernels from 6.12 on leave memory out of this table even where it is enabled.
    pi.write("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t70\t1\npids\t0\t70\t1\n")
    pi.write("/proc/self/cgroup", "0::/system.slice/ssh.service\n")
    pi.write("/proc/sys/vm/overcommit_memory", "1\n")
    pi.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
    pi.write("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    pi.folder("/sys/class/rtc/rtc0")
    pi.write("/sys/class/hwmon/hwmon3/name", "rpi_volt\n")
    pi.write("/sys/class/hwmon/hwmon3/in0_lcrit_alarm", "0\n")
    pi.mount("25 1 259:2 / / rw,noatime shared:1 - ext4 /dev/nvme0n1p2 rw")
    pi.block_device(
        "platform/axi/1000110000.pcie/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1",
        "259:2",
        {"queue/rotational": "0\n"},
        partition="nvme0n1p2",
    )
    return pi


@pytest.fixture
def laptop(machine: Callable[..., Machine]) -> Machine:
    """An x86 laptop: btrfs on an encrypted NVMe partition, an old hard disk and a stick on USB, a share of a NAS."""
    host = machine()
    host.write("/sys/class/dmi/id/product_name", "21HM0012GE\n")
    host.write(
        "/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse2 ssse3 sse4_1 sse4_2 avx2\n"
    )
    host.write("/proc/meminfo", "MemTotal:       32543212 kB\nSwapTotal:       8388604 kB\n")
    host.write("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/dm-1 partition 8388604 0 -2\n")
    host.write("/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/mapper/luks-root ro quiet\n")
    host.write("/proc/self/cgroup", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope\n")
    host.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n")
    host.folder("/sys/class/rtc/rtc0")
    host.mount("1 0 0:34 /root / rw,relatime shared:1 - btrfs /dev/mapper/luks-root rw,ssd,subvol=/root")
    host.mount("90 1 8:17 / /mnt/My\\040Disk rw,relatime shared:50 - ext4 /dev/sdb1 rw")
    host.mount("91 1 8:1 / /mnt/old rw,relatime shared:51 - ext4 /dev/sda1 rw")
    host.mount("92 1 0:55 / /mnt/nas rw,relatime shared:52 - nfs4 nas:/export rw,vers=4.2")
    host.mount("93 1 8:33 / /mnt/stick rw,relatime shared:53 - exfat /dev/sdc1 rw")
    host.block_device("pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1", "259:3", {"queue/rotational": "0"}, "nvme0n1p3")
    host.block_device("virtual/block/dm-0", "253:0", {"dm/name": "luks-root\n", "queue/rotational": "0"})
    slaves = host.folder("/sys/devices/virtual/block/dm-0/slaves")
    (slaves / "nvme0n1p3").symlink_to(host.root / "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/nvme0n1p3")
    ports = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0/block"
    host.block_device(f"{ports}/sdb", "8:17", {"queue/rotational": "1"}, "sdb1")
    host.block_device("pci0000:00/0000:00:17.0/ata1/host0/block/sda", "8:1", {"queue/rotational": "1"}, "sda1")
    host.block_device(f"{ports}/sdc", "8:33", {"queue/rotational": "1"}, "sdc1")
    return host
