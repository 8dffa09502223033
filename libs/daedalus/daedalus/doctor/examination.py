"""The whole look at a host, in the order in which an operator wants to read it."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from daedalus.doctor.directories import Load, directories_of, judge_directory
from daedalus.doctor.disks import Directory, Measure, disk_room, read_directory
from daedalus.doctor.findings import Finding, error, info
from daedalus.doctor.host import (
    Host,
    judge_open_files,
    judge_server_host,
    judge_user,
    judge_voltage,
    read_host,
)
from daedalus.doctor.kernel import Kernel
from daedalus.doctor.memory import judge_groups, judge_memory, judge_pages, judge_thresholds
from daedalus.doctor.servers import examine_server, is_here
from daedalus.doctor.stores import examine_stores
from daedalus.doctor.timekeeping import judge_clock
from daedalus.doctor.wheels import installed, judge_processor, judge_trials, judge_versions, try_packages
from daedalus_common.config import Config


@dataclass(frozen=True, slots=True)
class Examination:
    """What was seen, and what to think of it."""

    host: Host
    directories: tuple[Directory, ...]
    findings: tuple[Finding, ...]


def examine(config: Config, kernel: Kernel, root: Path, here: Path, measure: Measure = disk_room) -> Examination:
    """Looks, tries the packages, the server and the stores. Changes nothing that stays.

    `root` holds /proc, /sys and the directories: `/`. Relative paths of the configuration start `here`.
    """
    host = read_host(root, kernel)
    directories, unreadable = _read_directories(config, root, here, measure)
    findings = [
        *judge_host(host, config),
        *judge_directories(directories, config),
        *unreadable,
        *judge_versions(host.processor, installed()),
        *judge_trials(try_packages()),
        *asyncio.run(examine_server(config)),
        *examine_stores(config),
    ]
    return Examination(host, directories, tuple(findings))


def judge_host(host: Host, config: Config) -> list[Finding]:
    """What follows from the host alone."""
    server_here = is_here(config.redis.url)
    found = [
        *judge_user(host.user_id),
        judge_processor(host.processor, host.model),
        judge_pages(host.processor.page_size_bytes, host.processor.machine),
        *judge_voltage(host.undervoltage),
    ]
    if host.memory is not None:
        supervisor = config.supervisor
        found += judge_memory(host.memory)
        found.append(judge_thresholds(host.memory, supervisor.memory_warning_mb, supervisor.memory_critical_mb))
    if host.memory_groups is not None:
        found.append(judge_groups(host.memory_groups, host.model))
    found += judge_clock(host.clock, host.has_rtc)
    found.append(judge_open_files(host.open_files, server_here))
    if server_here:
        found += judge_server_host(host.overcommit_memory, host.huge_pages)
    if host.system != "Linux":
        found.append(info("system", f"{host.system}: memory, disks and clock are looked at on Linux only"))
    return found


def judge_directories(directories: tuple[Directory, ...], config: Config) -> list[Finding]:
    """What follows from where the configuration writes to."""
    load = Load(len(config.markets()), config.ingestion.flush_interval, config.ingestion.spool_max_size_bytes)
    return [finding for each in directories for finding in judge_directory(each, load)]


def _read_directories(
    config: Config, root: Path, here: Path, measure: Measure
) -> tuple[tuple[Directory, ...], list[Finding]]:
    found, unreadable = [], []
    for path, uses in directories_of(config, here).items():
        try:
            found.append(read_directory(root, uses, path, measure))
        except OSError as failure:
            unreadable.append(
                error(f"{uses[0]}: {path}", f"cannot be looked at: {failure.strerror}", f"set {uses[0]} to another")
            )
    return tuple(found), unreadable
