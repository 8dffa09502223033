"""Reads a merged object back: whole, with every checksum, against what its footer says."""

from daedalus_common.stores import ObjectStore
from daedalus_compactor.footers import PREFIX, Unfit, facts_of
from daedalus_compactor.rows import RowsHash, open_rows, pieces


def fault_of(store: ObjectStore, key: str, rows_hash: str | None = None) -> str | None:
    """What is wrong with a merged object; None where nothing is. Raises StoreError.

    `rows_hash` is that of the rows that were read from what it covers; after a restart only its footer knows.
    """
    with store.open_input(key) as file:
        try:
            opened = open_rows(file)
            facts = facts_of(opened.metadata)
            said = (opened.metadata.metadata or {}).get(f"{PREFIX}rows_hash".encode(), b"").decode(errors="replace")
            found = RowsHash()
            ends: list[tuple[int, int]] = []
            for rows in pieces(opened):
                found.add(rows)
                if facts.layer == "bronze" and len(rows):
                    ends.append((rows["seq"][0].as_py(), rows["seq"][-1].as_py()))
        except Unfit as error:
            return str(error)
    if found.rows != facts.rows:
        return f"its footer says {facts.rows} rows, it has {found.rows}"
    if found.digest != said or (rows_hash is not None and rows_hash != said):
        return "its rows are not those that were merged"
    if facts.layer == "bronze" and facts.key_hash != said:
        return "its key hash is not that of its rows"
    if ends and (ends[0][0], ends[-1][1]) != (facts.first_seq, facts.last_seq):
        return f"its numbers are {ends[0][0]} to {ends[-1][1]}, its footer says {facts.first_seq} to {facts.last_seq}"
    return None
