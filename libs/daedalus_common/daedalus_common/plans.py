"""The writer's plan: which objects a run of entries becomes, decided before anything is uploaded.

A plan names the first and last entry and every object with its partition and counter. Carried out twice it makes the
same objects: same ids, same rows, same names. Rows of one (table, partition) go to one object, except that rows of
different schemas never share one.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from daedalus_common.gap_tracking import GapState
from daedalus_common.markets import Market

HOUR_NS = 3_600_000_000_000
"""The grain in which objects are named."""


class Destination(msgspec.Struct, frozen=True, order=True):
    """A table and the instant-derived partition in it: `bronze/ccxt/orderbook`, `year=2026/month=2/day=3/hour=14`."""

    table: str
    partition: str
    stamp: str
    """The part of the file name that repeats the partition: `20260203T14`."""
    schema: str = ""
    """The hex id of the schema of Silver and Gold rows; Bronze has one schema per table."""


class Segment(msgspec.Struct, frozen=True):
    """One object to create. `counter` makes its name unique in the partition."""

    table: str
    partition: str
    stamp: str
    counter: int
    rows: int
    schema: str = ""

    @property
    def destination(self) -> Destination:
        return Destination(self.table, self.partition, self.stamp, self.schema)


class Plan(msgspec.Struct, frozen=True):
    """Entries from after `cursor` up to `last_id` of one stream become `segments`."""

    stream: str
    cursor: str
    first_id: str
    last_id: str
    entries: int
    segments: tuple[Segment, ...]
    dead: tuple[str, ...] = ()
    """Ids of the entries that are not ours: they stay dead letters even if who carries out the plan knows them."""
    gaps: GapState | msgspec.UnsetType = msgspec.UNSET
    """Of the raw stream: what was known of the market's gaps before the first entry. Not there in plans of older
    versions, which must be given back as they were."""

    muted: str | msgspec.UnsetType = msgspec.UNSET
    """Rows that are left out, as `MarketLog.durable` says. Not there in plans of older versions either."""

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "Plan":
        return msgspec.json.decode(data, type=cls)


def bronze_destination(source: str, table: str, market: Market, hour: datetime) -> Destination:
    """Bronze is partitioned by the hour of the event's `ts`."""
    partition = f"{market.partition}/year={hour.year}/month={hour.month}/day={hour.day}/hour={hour.hour}"
    return Destination(f"bronze/{source}/{table}", partition, f"{hour:%Y%m%dT%H}")


def is_late(table: str) -> bool:
    """Tables of events that came too late for their market's sequence: `bronze/ccxt/late/trades`."""
    return table.startswith("bronze/") and "/late/" in table


def silver_destination(table: str, market: Market, hour: datetime) -> Destination:
    """Silver is partitioned by the day of the row's timestamp; its name keeps the hour."""
    partition = f"{market.partition}/year={hour.year}/month={hour.month}/day={hour.day}"
    return Destination(f"silver/{table}", partition, f"{hour:%Y%m%dT%H}")


def quality_destination(table: str, market: Market, hour: datetime) -> Destination:
    """Quality tables are partitioned by the day on which a row became known; their names keep the hour."""
    partition = f"{market.partition}/year={hour.year}/month={hour.month}/day={hour.day}"
    return Destination(f"quality/{table}", partition, f"{hour:%Y%m%dT%H}")


def gold_destination(table: str, duration_seconds: int | None, market: Market, hour: datetime) -> Destination:
    """Gold time bars are partitioned by duration first, then market and month."""
    duration = "" if duration_seconds is None else f"duration={duration_seconds}/"
    partition = f"{duration}{market.partition}/year={hour.year}/month={hour.month}"
    return Destination(f"gold/{table}", partition, f"{hour:%Y%m%dT%H}")


def hour_at(hour: int) -> datetime:
    """The start of an hour that is given by its number since the epoch."""
    return datetime.fromtimestamp(hour * 3600, UTC)


def object_key(segment: Segment) -> str:
    """`bronze/…/hour=14/segment_20260203T14_00042.parquet`; those of other layers are called parts."""
    word = "segment" if segment.table.startswith("bronze/") else "part"
    return f"{segment.table}/{segment.partition}/{word}_{segment.stamp}_{segment.counter:05d}.parquet"


def with_counter(segment: Segment, counter: int) -> Segment:
    return msgspec.structs.replace(segment, counter=counter)


def make_plan(
    *,
    stream: str,
    cursor: str,
    first_id: str,
    last_id: str,
    entries: int,
    rows: Mapping[Destination, int],
    counters: Mapping[str, str],
    dead: Sequence[str] = (),
    gaps: GapState | msgspec.UnsetType = msgspec.UNSET,
    muted: str = "",
) -> Plan:
    """Plan for the run of `entries` from `first_id` to `last_id`, all that was read after `cursor`.

    `rows` counts the rows of each object; `dead` are the ids of foreign entries. `counters` maps a `counter_field` to
    "stamp counter" of its last object: the counter goes on within a stamp (an hour) and begins again at 1 in the next.
    """
    taken = dict(counters)
    segments = []
    # By time, which the names of partitions do not follow: hour=10 sorts before hour=9.
    for place, count in sorted(rows.items(), key=lambda item: (item[0].stamp, item[0])):
        segment = Segment(place.table, place.partition, place.stamp, next_counter(taken, place), count, place.schema)
        segments.append(segment)
        taken |= _newest(taken, counters_after([segment]))
    return Plan(stream, cursor, first_id, last_id, entries, tuple(segments), tuple(dead), gaps, muted or msgspec.UNSET)


def next_counter(counters: Mapping[str, str], place: Destination | Segment) -> int:
    stamp, _, last = counters.get(counter_field(place), "").partition(" ")
    return int(last) + 1 if stamp == _counted_by(place) else 1


def _counted_by(place: Destination | Segment) -> str:
    """The stamp within which a counter goes on. Late events come in no order, so their tables count through."""
    return "-" if is_late(place.table) else place.stamp


def counter_field(place: Destination | Segment) -> str:
    """One field per table (and bar duration). Timestamps of a market do not go back, so only the newest stamp counts.

    (Rows that come back from the dead letters may: for an older stamp the counter begins at 1, and creating the object,
    which never overwrites, finds the next free one.)
    """
    head, _, _ = place.partition.partition("exchange=")
    return f"{place.table}/{head}".rstrip("/")


def _newest(taken: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Those of `after` whose stamp is not older than the one that is taken."""
    return {
        field: value
        for field, value in after.items()
        if value.partition(" ")[0] >= taken.get(field, "").partition(" ")[0]
    }


def counters_after(segments: Sequence[Segment]) -> dict[str, str]:
    """What the counters hash must say once these segments exist."""
    ordered = sorted(segments, key=lambda s: (_counted_by(s), s.counter))
    return {counter_field(segment): f"{_counted_by(segment)} {segment.counter}" for segment in ordered}
