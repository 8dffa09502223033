"""I5: every process stays under its limit of memory, and the number of its open files does not grow."""

from collections.abc import Iterator

from faults.evidence import Evidence, Violation

MIB = 1024 * 1024
LIMITS_BYTES = {"ingestor": 300 * MIB, "writer": 400 * MIB, "featurizer": 300 * MIB}
"""The writer's holds its budget of 32 MB twice (events and their Parquet) beside pyarrow and boto3."""
MAX_FILES = 200


def memory_and_files_are_bounded(evidence: Evidence) -> Iterator[Violation]:
    """Every sample of every process."""
    for life in evidence.lives:
        if not life.samples:
            continue
        peak = max(sample.rss_bytes for sample in life.samples)
        limit = LIMITS_BYTES[life.role]
        if peak > limit:
            yield Violation(
                "I5", f"{life.name} (pid {life.pid}) took {peak / MIB:.0f} MB, its limit is {limit / MIB:.0f}"
            )
        files = max(sample.files for sample in life.samples)
        if files > MAX_FILES:
            yield Violation("I5", f"{life.name} (pid {life.pid}) had {files} open files, its limit is {MAX_FILES}")
