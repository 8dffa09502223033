"""What is said about a Raspberry Pi 4 as it comes, a Raspberry Pi 5 that is set up, and a laptop."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from daedalus.doctor.examination import judge_host
from daedalus.doctor.findings import Finding, Level, worst
from daedalus.doctor.host import read_host
from daedalus.doctor.kernel import Clock, OpenFiles
from daedalus_common.config import Config, parse_config
from doctor.conftest import Machine

DEFAULTS = parse_config({})
REMOTE = parse_config({"redis": {"url": "redis://cache.example:6379/0"}})


def findings(machine: Machine, config: Config = DEFAULTS) -> list[Finding]:
    return judge_host(read_host(machine.root, machine.kernel), config)


def about(subject: str, found: Iterable[Finding]) -> Finding:
    """The one finding about it."""
    (finding,) = (each for each in found if each.subject == subject)
    return finding


def levels(found: Iterable[Finding]) -> dict[str, Level]:
    """The worst of each subject that is not ok."""
    bad = [each for each in found if each.level is not Level.OK]
    return {each.subject: worst(other for other in bad if other.subject == each.subject) for each in bad}


def test_a_pi_4_as_it_comes_gets_a_warning_for_each_thing_to_set_up(pi4: Machine) -> None:
    assert levels(findings(pi4)) == {
        "swap": Level.WARNING,
        "supervisor.memory_critical_mb": Level.WARNING,
        "cgroup memory": Level.WARNING,
        "clock": Level.WARNING,
        "vm.overcommit_memory": Level.WARNING,
        "transparent huge pages": Level.INFO,
    }


def test_a_pi_5_that_is_set_up_is_only_told_about_its_pages(pi5: Machine) -> None:
    assert levels(findings(pi5)) == {"page size": Level.INFO}
    assert "kernel=kernel8.img" in about("page size", findings(pi5)).fix


def test_a_laptop_is_fine(laptop: Machine) -> None:
    assert levels(findings(laptop)) == {}
    assert about("processor", findings(laptop)).seen == "x86_64, 21HM0012GE"


def test_every_warning_and_error_says_what_to_do(pi4: Machine) -> None:
    found = findings(pi4.asked(python_bits=32, user_id=0, open_files=OpenFiles(256, 256), page_size_bytes=65_536))
    assert worst(found) is Level.ERROR
    assert [each.subject for each in found if each.level in (Level.WARNING, Level.ERROR) and not each.fix] == []


def test_memory_groups_off_on_a_pi_are_put_right_in_cmdline_txt(pi4: Machine) -> None:
    fix = about("cgroup memory", findings(pi4)).fix
    assert "cgroup_enable=memory cgroup_memory=1" in fix
    assert "/boot/firmware/cmdline.txt" in fix


def test_a_later_disable_on_the_command_line_is_named_as_the_cause(pi4: Machine) -> None:
    pi4.write("/proc/cmdline", "root=/dev/mmcblk0p2 cgroup_enable=memory cgroup_memory=1 cgroup_disable=memory")
    assert "comes after cgroup_enable=memory" in about("cgroup memory", findings(pi4)).fix


@pytest.mark.parametrize(("enabled", "level"), [(1, Level.OK), (0, Level.WARNING)])
def test_with_groups_of_version_1_the_table_decides(pi4: Machine, enabled: int, level: Level) -> None:
    (pi4.root / "sys/fs/cgroup/cgroup.controllers").unlink()
    pi4.write(
        "/proc/cgroups", f"#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t4\t29\t{enabled}\n"
    )
    assert about("cgroup memory", findings(pi4)).level is level


def test_the_thresholds_that_are_advised_are_enough_and_below_the_machine_s_memory(pi4: Machine) -> None:
    fix = about("supervisor.memory_critical_mb", findings(pi4)).fix
    critical, warning = (int(word) for word in fix.split() if word.isdigit())
    assert 1000 < warning < critical < 3000
    lowered = parse_config({"supervisor": {"memory_critical_mb": float(critical), "memory_warning_mb": float(warning)}})
    assert about("supervisor.memory_critical_mb", findings(pi4, lowered)).level is Level.OK


def test_the_limit_of_a_container_counts_as_its_memory(laptop: Machine) -> None:
    laptop.write("/proc/self/cgroup", "0::/\n")
    laptop.write("/sys/fs/cgroup/memory.max", f"{512 * 2**20}\n")
    found = findings(laptop)
    assert about("memory", found).level is Level.WARNING
    assert "512 MiB (the control group's limit; the machine has 31.0 GiB)" in about("memory", found).seen
    assert about("supervisor.memory_critical_mb", found).level is Level.WARNING


def test_a_group_without_a_limit_does_not_hide_the_machine_s_memory(laptop: Machine) -> None:
    laptop.write("/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope/memory.max", "max\n")
    assert about("memory", findings(laptop)).seen == "31.0 GiB"


@pytest.mark.parametrize(
    ("clock", "level"),
    [(Clock(True, 0.004), Level.OK), (Clock(False, 16.0), Level.WARNING), (Clock(None), Level.INFO)],
)
def test_the_clock_is_judged_by_whether_something_keeps_it(laptop: Machine, clock: Clock, level: Level) -> None:
    assert about("clock", findings(laptop.asked(clock=clock))).level is level


def test_a_host_without_a_battery_backed_clock_is_told_to_wait_for_the_time(pi4: Machine) -> None:
    found = [each for each in findings(pi4.asked(clock=Clock(True, 0.01))) if each.subject == "clock"]
    assert [each.level for each in found] == [Level.OK, Level.INFO]
    assert "systemd-time-wait-sync" in found[1].fix


@pytest.mark.parametrize(
    ("limit", "level"),
    [
        (OpenFiles(1024, 1_048_576), Level.OK),
        (OpenFiles(256, 1_048_576), Level.WARNING),
        (OpenFiles(1024, 4096), Level.WARNING),
        (OpenFiles(-1, -1), Level.OK),
    ],
)
def test_few_open_files_are_a_warning_and_so_are_few_for_a_server_here(
    laptop: Machine, limit: OpenFiles, level: Level
) -> None:
    assert about("open files", findings(laptop.asked(open_files=limit))).level is level


def test_a_hard_limit_matters_only_where_a_server_runs_on_this_host(laptop: Machine) -> None:
    small = laptop.asked(open_files=OpenFiles(1024, 4096))
    assert about("open files", findings(small, REMOTE)).level is Level.OK


def test_settings_for_servers_are_not_looked_at_when_the_server_is_elsewhere(pi4: Machine) -> None:
    subjects = {each.subject for each in findings(pi4, REMOTE)}
    assert not subjects & {"vm.overcommit_memory", "transparent huge pages"}


def test_too_little_voltage_is_a_warning(pi4: Machine) -> None:
    assert about("power supply", findings(pi4)).level is Level.OK
    pi4.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert about("power supply", findings(pi4)).level is Level.WARNING
    assert "vcgencmd get_throttled" in about("power supply", findings(pi4)).fix


def test_a_32_bit_system_on_a_64_bit_processor_is_an_error(pi4: Machine) -> None:
    assert about("processor", findings(pi4.asked(python_bits=32))).level is Level.ERROR
    assert about("processor", findings(pi4.asked(machine="armv7l"))).level is Level.ERROR


def test_an_x86_processor_from_before_sse_4_2_is_an_error(laptop: Machine) -> None:
    laptop.write("/proc/cpuinfo", "flags\t\t: fpu sse2 ssse3\n")
    assert about("processor", findings(laptop)).level is Level.ERROR


def test_root_is_told_to_ask_as_the_services_user(laptop: Machine) -> None:
    assert about("user", findings(laptop.asked(user_id=0))).level is Level.INFO


def test_a_system_without_proc_gets_what_can_be_said_and_no_alarm(machine: Callable[..., Machine]) -> None:
    mac = machine(system="Darwin", machine="arm64", page_size_bytes=16_384, clock=Clock(None))
    found = findings(mac)
    assert worst(found) is Level.INFO
    assert "Linux only" in about("system", found).seen


def test_the_order_of_levels_is_that_of_harm() -> None:
    base = Finding(Level.OK, "a", "b")
    for level in Level:
        assert worst([base, replace(base, level=level)]) is level
    assert worst([Finding(Level.WARNING, "a", "b"), Finding(Level.ERROR, "c", "d")]) is Level.ERROR
    assert worst([]) is Level.OK
