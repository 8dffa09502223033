"""Asks the services how they are: readiness, and the few counters that the summary shows."""

import re
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from daedalus.embedded.http import Unreachable, fetch
from daedalus.supervisor.process import Process

DROPS = ("daedalus_ingestor_dropped_events_total", "daedalus_ingestor_abandoned_events_total")
BAD_FRAMES = ("daedalus_ingestor_bad_frames_total",)

_ADDRESS = re.compile(r"""telemetry["']?\s*[=:]\s*["']?(http://[^\s"',]+)""")
_START_BYTES = 20_000
"""The line `started` is among the first that a service writes."""


def telemetry_url(process: Process) -> str | None:
    """Where this process serves /metrics, as the line `started` of its log says; None before that."""
    if not process.command.log.exists():
        return None
    with process.command.log.open("rb") as log:
        log.seek(process.log_offset)
        found = _ADDRESS.search(log.read(_START_BYTES).decode(errors="replace"))
    return found[1] if found else None


async def unreadiness(process: Process) -> str | None:
    """Why the service is not ready, as it says itself; None when it is."""
    url = telemetry_url(process)
    if url is None:
        return "it is still starting"
    try:
        await fetch(f"{url}/readyz")
    except Unreachable as error:
        return str(error)
    return None


class Counters:
    """Sums of counters over every process that a service has been: a restart begins them at zero."""

    def __init__(self) -> None:
        self._of_process: dict[tuple[str, int], dict[str, float]] = {}

    async def read(self, process: Process | None) -> None:
        """Takes the values of the running process; one that does not answer keeps its last ones."""
        url = None if process is None else telemetry_url(process)
        if process is None or url is None:
            return
        try:
            text = (await fetch(f"{url}/metrics")).decode()
        except Unreachable:
            return
        self._of_process[process.command.name, process.pid] = totals(text, (*DROPS, *BAD_FRAMES))

    def total(self, names: Iterable[str]) -> int:
        """The sum of these counters over all processes seen."""
        wanted = set(names)
        return round(sum(v for values in self._of_process.values() for name, v in values.items() if name in wanted))


def totals(text: str, names: Iterable[str]) -> dict[str, float]:
    """Each counter's sum over its labels, from the text of /metrics."""
    wanted = set(names)
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in wanted:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found
