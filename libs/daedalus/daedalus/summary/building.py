"""Puts the summary together: what lies in the stores, against what the simulator says it sent."""

from collections.abc import Sequence
from pathlib import Path

from daedalus.embedded.run import Outcome
from daedalus.embedded.services import SIMULATOR
from daedalus.summary.ledger import Ledger
from daedalus.summary.reconcile import reconcile
from daedalus.summary.recording import Recording, count_tables, objects_since, read_recording, table_of
from daedalus.summary.report import Summary, TableCount
from daedalus.summary.sent import LedgerError, parse_sent
from daedalus.summary.sequences import check_sequences
from daedalus_common.config import Config, StoreSettings
from daedalus_common.events import CONTROL
from daedalus_common.stores import LocalDisk, ObjectInfo

_RAW_PREFIXES = ("bronze/", "quality/")
_DERIVED_PREFIXES = ("silver/", "gold/")


def summarize(outcome: Outcome, config: Config, data_dir: Path, demo: bool) -> Summary:
    """Reads every object of the run on a local disk; what lies in S3 is named in `not_counted`. Raises StoreError."""
    storage = config.storage
    tables: dict[str, TableCount] = {}
    recording: Recording | None = None
    not_counted: list[str] = []
    bronze = _local(storage.ingestion_storage)
    if bronze is None:
        not_counted.append("storage.ingestion_storage")
    else:
        objects = objects_since(bronze, _RAW_PREFIXES, outcome.started)
        tables |= count_tables(bronze, objects)
        # Of a live run only the gaps are read: months of event ids would not fit in memory, and nobody compares them.
        wanted = objects if demo else _control(objects)
        markets = [settings.market for settings in config.markets()]
        recording = read_recording(bronze, wanted, markets, outcome.started)
        outcome.problems += recording.unreadable
    derived = _local(storage.etl_storage_output)
    if derived is None:
        not_counted.append("storage.etl_storage_output")
    else:
        tables |= count_tables(derived, objects_since(derived, _DERIVED_PREFIXES, outcome.started))
    ledger, problems = _ledger(outcome, config, recording) if demo else (None, [])
    failure = outcome.failure
    return Summary(
        demo=demo,
        started=outcome.started,
        recorded_for=outcome.recorded_for,
        data_dir=str(data_dir),
        ledger=ledger,
        tables=tables,
        gaps=(recording or Recording()).gap_count(),
        drops=outcome.drops,
        bad_frames=outcome.bad_frames,
        dead_letters=outcome.dead_letters,
        restarts=outcome.restarts,
        not_counted=tuple(not_counted),
        problems=(
            *([] if failure is None else [f"the {failure.service} {failure.reason}"]),
            *outcome.problems,
            *problems,
        ),
    )


def _ledger(outcome: Outcome, config: Config, recording: Recording | None) -> tuple[Ledger | None, Sequence[str]]:
    if recording is None:
        return None, ["Bronze lies in S3 (storage.ingestion_storage), where it is not compared with what was sent"]
    if outcome.restarts.get(SIMULATOR):
        return None, ["the simulator ended and was started again: what it had sent before is not known"]
    if outcome.ledger is None:
        return None, ["it is not known what the simulator sent"]
    try:
        sent = parse_sent(outcome.ledger, config.markets())
    except LedgerError as error:
        return None, [str(error)]
    balances = reconcile(sent.feeds, recording.events, recording.gaps)
    sequences = check_sequences(outcome.seq_before, outcome.seq_after, recording.seqs, recording.gaps)
    return Ledger(balances, sequences), sent.problems


def _local(settings: StoreSettings) -> LocalDisk | None:
    return LocalDisk(settings.base_dir) if settings.backend == "local" else None


def _control(objects: Sequence[ObjectInfo]) -> list[ObjectInfo]:
    return [info for info in objects if table_of(info.key).endswith(f"/{CONTROL}")]
