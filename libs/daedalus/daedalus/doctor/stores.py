"""The configured stores: each is tried out, as the services do when they start."""

from dataclasses import replace
from pathlib import Path

from daedalus.doctor.findings import Finding, error, info, ok, warning
from daedalus.doctor.memory import mebibytes
from daedalus_common.config import Config
from daedalus_common.stores import StoreError, StoreReport, StoreSettings, open_store, store_settings

_SLOW_SECONDS = 2.0
"""Of a small create: the writer's four threads would then store two objects a second."""

_ROLES = ("ingestion_storage", "etl_storage_output")


def examine_stores(config: Config) -> list[Finding]:
    """Those that the services write to; the same place only once."""
    seen: dict[StoreSettings, str] = {}
    for role in _ROLES:
        section = getattr(config.storage, role)
        settings = store_settings(f"storage.{role}", section, fsync=config.ingestion.enable_fsync)
        seen.setdefault(replace(settings, role=""), settings.role)
    return [finding for place, role in seen.items() for finding in _examine(place, role)]


def judge_report(subject: str, report: StoreReport) -> list[Finding]:
    """What a store that works has told."""
    seen = f"{report.location}: works, a small durable object takes {report.create_seconds * 1000:.0f} ms"
    if report.server:
        seen += f" ({report.server})"
    if report.free_bytes is not None:
        seen += f", {mebibytes(report.free_bytes)} free"
    if report.create_seconds > _SLOW_SECONDS:
        found = warning(subject, seen, "raise ingestion.flush_interval_seconds or writer.upload_threads")
    else:
        found = ok(subject, seen)
    return [found, *(info(subject, note) for note in report.notes)]


def _examine(place: StoreSettings, role: str) -> list[Finding]:
    settings = replace(place, role=role)
    subject = f"store {role}"
    # Trying would make the folder, which must not come to belong to whoever looks.
    if settings.backend == "local" and not Path(settings.base_dir).is_dir():
        return [info(subject, f"{settings.base_dir.absolute()} is not there yet; the writer makes it")]
    try:
        store = open_store(settings)
        report = store.probe()
        if report.create_seconds > _SLOW_SECONDS:
            # The first object in a new bucket says little: SeaweedFS first makes volumes for it, which takes seconds.
            report = store.probe()
        return judge_report(subject, report)
    except StoreError as failure:
        seen, _, fix = str(failure).rpartition("; ")
        return [error(subject, seen or fix, fix if seen else "see the section of the configuration")]
