"""Which disk a directory lies on, and what that means for what is kept there."""

from datetime import timedelta
from pathlib import Path

import pytest

from daedalus.doctor.directories import Load, directories_of, judge_directory
from daedalus.doctor.disks import Directory, Kind, Room, read_directory
from daedalus.doctor.findings import Finding, Level, worst
from daedalus_common.config import parse_config
from doctor.conftest import GIB, Machine

DATA = ("storage.ingestion_storage",)


ROOMY = Room(900 * GIB, 500 * GIB, 60_000_000)
TEN_MARKETS = Load(markets=10, flush=timedelta(seconds=60), spool_bytes=0)


def plenty(_: Path) -> Room:
    return ROOMY


def directory(machine: Machine, path: str, uses: tuple[str, ...] = DATA) -> Directory:
    return read_directory(machine.root, uses, Path(path), plenty)


def judged(machine: Machine, path: str) -> list[Finding]:
    return judge_directory(directory(machine, path), TEN_MARKETS)


def with_free(free_bytes: int, uses: tuple[str, ...], markets: int, spool_bytes: int = 0) -> Finding:
    """What is said about a directory on an SSD with so much room."""
    place = Directory(uses, "/data", True, True, None, Kind.SSD, Room(900 * GIB, free_bytes, None))
    return judge_directory(place, Load(markets, timedelta(seconds=5), spool_bytes))[-1]


def test_the_sd_card_of_a_pi_is_a_warning_that_names_the_wear(pi4: Machine) -> None:
    found = judged(pi4, "/home/pi/data")
    assert directory(pi4, "/home/pi/data").kind is Kind.SD_CARD
    assert worst(found) is Level.WARNING
    assert "23 GB a day" in found[0].seen
    assert "SSD" in found[0].fix


def test_an_emmc_module_is_no_sd_card(pi4: Machine) -> None:
    pi4.write("/sys/dev/block/179:2/../device/type", "MMC\n")
    assert directory(pi4, "/home/pi/data").kind is Kind.EMMC


def test_an_ssd_mounted_below_the_card_is_found_by_its_mount_point(pi4: Machine) -> None:
    pi4.mount("60 25 8:1 / /mnt/ssd rw,noatime shared:30 - ext4 /dev/sda1 rw")
    usb = "platform/scb/fd500000.pcie/pci0000:00/0000:01:00.0/usb2/2-2/2-2:1.0/host0/target0:0:0/0:0:0:0/block/sda"
    pi4.block_device(usb, "8:1", {"queue/rotational": "0\n"}, partition="sda1")
    assert directory(pi4, "/mnt/ssd/daedalus").kind is Kind.SSD
    assert worst(judged(pi4, "/mnt/ssd/daedalus")) is Level.OK
    assert directory(pi4, "/mnt/ssd-not-mounted").kind is Kind.SD_CARD


def test_the_nvme_disk_of_a_pi_5_suits(pi5: Machine) -> None:
    assert directory(pi5, "/var/lib/daedalus").kind is Kind.NVME
    assert len(judged(pi5, "/var/lib/daedalus")) == 1


def test_btrfs_on_an_encrypted_partition_is_followed_to_its_disk(laptop: Machine) -> None:
    assert directory(laptop, "/home/me/data").kind is Kind.NVME


@pytest.mark.parametrize(
    ("path", "kind", "level"),
    [
        ("/mnt/My Disk/data", Kind.USB, Level.INFO),
        ("/mnt/old/data", Kind.ROTATING, Level.OK),
        ("/mnt/nas/data", Kind.NETWORK, Level.WARNING),
        ("/mnt/stick/data", Kind.USB, Level.ERROR),
    ],
)
def test_other_disks_are_told_apart(laptop: Machine, path: str, kind: Kind, level: Level) -> None:
    assert directory(laptop, path).kind is kind
    assert worst(judged(laptop, path)) is level


def test_a_file_system_without_hard_links_is_an_error_that_names_better_ones(laptop: Machine) -> None:
    (found,) = [each for each in judged(laptop, "/mnt/stick") if each.level is Level.ERROR]
    assert "no hard links" in found.seen
    assert "ext4, xfs or btrfs" in found.fix


def test_a_directory_in_memory_is_an_error(pi4: Machine) -> None:
    assert directory(pi4, "/run/daedalus").kind is Kind.MEMORY
    assert worst(judged(pi4, "/run/daedalus")) is Level.ERROR


def test_the_layer_of_a_container_is_a_warning(laptop: Machine) -> None:
    laptop.mount("200 1 0:80 / / rw,relatime - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/c")
    assert directory(laptop, "/data").kind is Kind.LAYER
    assert worst(judged(laptop, "/data")) is Level.WARNING


@pytest.mark.parametrize("options", ["ro,noatime shared:1 - ext4 /dev/mmcblk0p2 rw", "rw shared:1 - ext4 /dev/x ro"])
def test_a_file_system_that_went_read_only_is_an_error(pi4: Machine, options: str) -> None:
    pi4.mount(f"70 25 179:2 / /srv {options}")
    found = judged(pi4, "/srv/data")
    assert worst(found) is Level.ERROR
    assert "dmesg" in found[0].fix


def test_a_directory_that_this_user_may_not_write_is_an_error() -> None:
    place = Directory(DATA, "/var/lib/daedalus", True, False, None, Kind.SSD, ROOMY)
    found = judge_directory(place, TEN_MARKETS)
    assert found[0].level is Level.ERROR
    assert "/var/lib/daedalus" in found[0].fix


def test_a_disk_that_nobody_knows_is_no_alarm(laptop: Machine) -> None:
    laptop.mount("95 1 7:3 / /mnt/loop rw - ext4 /dev/loop3 rw")
    assert directory(laptop, "/mnt/loop/data").kind is Kind.UNKNOWN
    assert worst(judged(laptop, "/mnt/loop/data")) is Level.OK


def test_free_space_is_judged_by_the_days_that_it_lasts() -> None:
    assert with_free(500 * GIB, DATA, markets=10).level is Level.OK
    few = with_free(20 * GIB, DATA, markets=10)
    assert few.level is Level.WARNING
    assert "about 6 days" in few.seen
    assert with_free(20 * GIB, DATA, markets=1).level is Level.OK


@pytest.mark.parametrize(
    ("free_files", "flush_seconds", "warned"),
    [(1_900_000, 5, True), (1_900_000, 300, False), (60_000_000, 5, False), (None, 5, False)],
)
def test_a_disk_that_runs_out_of_files_before_space_is_a_warning(
    free_files: int | None, flush_seconds: int, warned: bool
) -> None:
    place = Directory(DATA, "/data", True, True, None, Kind.SSD, Room(900 * GIB, 500 * GIB, free_files))
    found = judge_directory(place, Load(10, timedelta(seconds=flush_seconds), 0))
    assert [each.level for each in found] == [Level.OK, *([Level.WARNING] if warned else [])]
    assert ("691,200 a day" in found[-1].seen) is warned


def test_a_nearly_full_disk_is_an_error_whatever_is_recorded() -> None:
    assert with_free(GIB - 1, ("storage.paths.state_dir",), markets=0).level is Level.ERROR
    assert with_free(2 * GIB, ("storage.paths.state_dir",), markets=0).level is Level.OK


def test_the_spool_needs_its_room_beside() -> None:
    spool = ("ingestion.spool_dir",)
    assert with_free(2 * GIB, spool, markets=0, spool_bytes=2 * GIB).level is Level.ERROR
    assert "ingestion.spool_max_mb" in with_free(2 * GIB, spool, markets=0, spool_bytes=2 * GIB).fix
    assert with_free(4 * GIB, spool, markets=0, spool_bytes=2 * GIB).level is Level.OK


def test_directories_are_those_of_the_configuration_each_once(tmp_path: Path) -> None:
    here = tmp_path / "here"
    config = parse_config(
        {
            "storage": {
                "ingestion_storage": {"base_dir": "/mnt/ssd/data"},
                "etl_storage_output": {"backend": "s3", "s3": {"bucket": "my-lake"}},
                "paths": {"state_dir": "state"},
            }
        }
    )
    assert directories_of(config, here) == {
        Path("/mnt/ssd/data"): ("storage.ingestion_storage",),
        here / "state": ("storage.paths.state_dir",),
        here / "state/spool": ("ingestion.spool_dir",),
    }
    without = parse_config({"ingestion": {"spool_max_mb": 0}})
    assert directories_of(without, here) == {
        here / "data": ("storage.ingestion_storage", "storage.etl_storage_output"),
        here / "temp/state": ("storage.paths.state_dir",),
    }


def test_looking_at_a_directory_that_is_not_there_does_not_make_it(tmp_path: Path) -> None:
    place = read_directory(Path("/"), DATA, tmp_path / "not" / "there")
    assert not place.exists
    assert place.writable
    assert place.mount is not None
    assert 0 < place.room.free_bytes <= place.room.total_bytes
    assert list(tmp_path.iterdir()) == []
