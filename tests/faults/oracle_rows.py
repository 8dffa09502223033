"""I1, I2 and I3: everything that was sent is in Bronze or inside a declared gap, once, and in order."""

from bisect import bisect_right
from collections.abc import Iterator

import polars as pl

from daedalus.summary.ledger import RecordedEvent, Sent
from daedalus.summary.recording import Recording
from daedalus.summary.sequences import check_sequence
from daedalus_common.markets import Market
from faults.evidence import PLACE, Evidence, Violation
from support.offline import stored_tables

MS = 1_000_000


def everything_sent_is_there(evidence: Evidence) -> Iterator[Violation]:
    """I1: by the exchange's own ids, and by the market's numbers, of which none may be missing either."""
    recording = evidence.recording
    for text in recording.unreadable:
        yield Violation("I1", text)
    for feed, balanced in evidence.balances.items():
        events = recording.events.get(feed, [])
        sent = evidence.sent.get(feed, Sent(()))
        if sent.ids and not events:
            yield Violation("I1", f"{feed}: {len(sent.ids)} events were sent, none is recorded")
        moments = _Moments(sent, events)
        for id_ in balanced.missing:
            yield Violation("I1", f"{feed}: {id_} is neither recorded nor inside a gap", moments.near(id_))
        for id_ in balanced.never_sent:
            yield Violation("I1", f"{feed}: {id_} was recorded and never sent", moments.of(id_))
    yield from _holes(evidence, recording)


def _holes(evidence: Evidence, recording: Recording) -> Iterator[Violation]:
    for market, last in evidence.last_seq.items():
        seqs = recording.seqs.get(market, [])
        checked = check_sequence(market, 1, last, seqs, recording.gaps.get(market, ()))
        if checked.missing > checked.lost:
            holes = ", ".join(f"{a}-{b}" for a, b in checked.holes[:5])
            text = f"{market.name}: {checked.missing} numbers are in no row ({holes}), {checked.lost} are declared lost"
            yield Violation("I1", text, _moment_of_seq(evidence, market, checked.holes[0][0]))


def row_keys_are_unique(evidence: Evidence) -> Iterator[Violation]:
    """I2: (generation, seq) and the entry's id in Bronze, seq in each table of Silver and Gold, the exchange's ids."""
    recording = evidence.recording
    for market in evidence.markets:
        rows = evidence.rows[market]
        for keys in (["generation", "seq"], list(PLACE)):
            yield from _doubles(rows, keys, f"{market.name} Bronze")
        for name, frame in _derived(evidence, market):
            yield from _doubles(frame, ["seq"], f"{market.name} {name}")
    for feed, balanced in evidence.balances.items():
        moments = _Moments(evidence.sent.get(feed, Sent(())), recording.events.get(feed, []))
        for id_ in balanced.double:
            yield Violation("I2", f"{feed}: {id_} is recorded more often than it was sent", moments.of(id_))


def _doubles(rows: pl.DataFrame, keys: list[str], what: str) -> Iterator[Violation]:
    if rows.is_empty():
        return
    at = pl.col("capture_ts") if "capture_ts" in rows.columns else pl.col("timestamp")
    found = rows.group_by(keys).agg(pl.len().alias("rows"), at.first().alias("at")).filter(pl.col("rows") > 1)
    for row in found.sort(keys).iter_rows(named=True):
        key = ", ".join(f"{name} {row[name]}" for name in keys)
        yield Violation("I2", f"{what}: {row['rows']} rows have {key}", row["at"])


def _derived(evidence: Evidence, market: Market) -> Iterator[tuple[str, pl.DataFrame]]:
    for name, frame in stored_tables(evidence.data, market.partition).items():
        yield name, frame.select("seq", pl.col("timestamp").dt.epoch("ns"))


def order_holds(evidence: Evidence) -> Iterator[Violation]:
    """I3: along the entry ids neither the numbers nor the times go back, nor do the exchange's own ids."""
    for market in evidence.markets:
        rows = evidence.rows[market]
        if rows.is_empty():
            continue
        for name, strict in (("seq", True), ("ts", False)):
            step = pl.col(name).diff()
            # A new generation begins where the durable rows end; only its time may not go back.
            same = pl.col("generation").diff().fill_null(0) == 0 if name == "seq" else pl.lit(True)
            wrong = rows.filter(same & (step <= 0 if strict else step < 0))
            for row in wrong.iter_rows(named=True):
                text = f"{market.name}: {name} goes back to {row[name]} at {row['stream_ms']}-{row['stream_seq']}"
                yield Violation("I3", text, row["capture_ts"])
    recording = evidence.recording
    for feed, balanced in evidence.balances.items():
        moments = _Moments(evidence.sent.get(feed, Sent(())), recording.events.get(feed, []))
        for id_ in balanced.disordered:
            yield Violation("I3", f"{feed}: {id_} is recorded after one that was sent later", moments.of(id_))


class _Moments:
    """About when an event of one feed happened: its own entry's time, or that of the one recorded before it."""

    def __init__(self, sent: Sent, events: list[RecordedEvent]) -> None:
        self._at = {event.id: event.position[1] * MS for event in events}
        self._places = {id_: place for place, id_ in enumerate(sent.ids)}
        known = sorted((self._places[id_], at) for id_, at in self._at.items() if id_ in self._places)
        self._known = known

    def of(self, id_: str) -> int | None:
        return self._at.get(id_)

    def near(self, id_: str) -> int | None:
        place = self._places.get(id_)
        if place is None or not self._known:
            return None
        index = bisect_right(self._known, (place, 0))
        return self._known[max(0, index - 1)][1]


def _moment_of_seq(evidence: Evidence, market: Market, seq: int) -> int | None:
    rows = evidence.rows[market]
    if rows.is_empty():
        return None
    before = rows.filter(pl.col("seq") < seq).tail(1)
    return int(before["capture_ts"][0]) if before.height else None
