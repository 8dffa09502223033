"""Which objects another one stands for: what `daedalus.covers` says in its footer.

    daedalus.covers         JSON list of keys; `…_00001..00720.parquet` names each counter from 1 to 720
    daedalus.covers_hashes  16 hex digits of each covered object's key hash, in the order of that list
    daedalus.covers_made    when the first object was made that handed its covers on to this one, where any did

A covered object is skipped by our readers and deleted by the compactor. Covers are handed on: who covers an object that
covers others covers those too. So a name stays covered for good, also when an object of that name is made again: a plan
that a writer carries out again after the server has lost its tail makes the same rows under the same name. The hashes
tell such an object from one that holds *other* rows under a name that became free: that one counts. No such object is
older than `covers_made`, or than the covering object itself where nobody handed anything on.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain

HASH_DIGITS = 16
_UNKNOWN = "-" * HASH_DIGITS
_NAME = re.compile(r"((?:.*/)?(?:segment|part)_(\d{8}T\d{2})_)(\d{5,})(\.parquet)")
_RANGE = re.compile(r"(.*_)(\d{5,})\.\.(\d{5,})(\.parquet)")


@dataclass(frozen=True, slots=True)
class Name:
    """A key of ours: `head` is all before the counter."""

    head: str
    stamp: str
    counter: int

    @property
    def key(self) -> str:
        return f"{self.head}{self.counter:05d}.parquet"

    @property
    def place(self) -> tuple[str, int]:
        """Orders the objects of a partition as their rows were written."""
        return self.stamp, self.counter

    @property
    def hour(self) -> datetime:
        """The start of the hour in the name. Raises ValueError for one that no calendar has."""
        return datetime.strptime(self.stamp, "%Y%m%dT%H").replace(tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """Until when rows of the name's time may still come: to the end of its hour in Bronze, of its day elsewhere.

        Raises ValueError as `hour`.
        """
        if "segment_" in self.head.rpartition("/")[2]:
            return self.hour + timedelta(hours=1)
        return self.hour.replace(hour=0) + timedelta(days=1)


def name_of(key: str) -> Name | None:
    """None for a key that is not named as ours are."""
    named = _NAME.fullmatch(key)
    return None if named is None else Name(named[1], named[2], int(named[3]))


@dataclass(frozen=True, slots=True)
class _Run:
    """Names that follow each other; their hashes lie from `offset` on, or nowhere."""

    first: Name
    last: int
    offset: int

    def __len__(self) -> int:
        return self.last - self.first.counter + 1


@dataclass(frozen=True, slots=True)
class Covers:
    """The keys that an object covers, with what is known of their rows. A run of names takes the place of one."""

    runs: Mapping[str, tuple[_Run, ...]] = field(default_factory=dict)
    """By `Name.head`."""
    others: Mapping[str, int] = field(default_factory=dict)
    """Keys that are not named as ours, with where their hash lies."""
    hashes: str = ""
    made: datetime | None = None
    """When the first object was made that handed its covers on; None where none did."""

    def __bool__(self) -> bool:
        return bool(self.runs or self.others)

    def __contains__(self, key: str) -> bool:
        return next(self._offsets(key), None) is not None

    def holds(self, key: str, key_hash: str) -> bool:
        """Whether an object of this name with rows of this hash is covered. Where no hash is known the name decides.

        The rows may be covered under another name: a plan names 00003, the compactor has it, and the rows become 00004;
        when both were merged and deleted, the plan carried out again makes 00003.
        """
        known = [self._hash(offset) for offset in self._offsets(key)]
        digits = key_hash[:HASH_DIGITS]
        if not known or digits == _UNKNOWN or _UNKNOWN in known or digits in known:
            return bool(known)
        return any(self._hash(offset) == digits for offset in range(len(self.hashes) // HASH_DIGITS))

    def includes(self, other: "Covers") -> bool:
        """Whether all rows that the other one covers are covered here."""
        return all(self.holds(key, key_hash) for key, key_hash in other.items())

    def items(self) -> Iterator[tuple[str, str]]:
        """(key, first digits of its key hash, or dashes); a name may be there twice, with other rows."""
        for runs in self.runs.values():
            for run in runs:
                for number in range(len(run)):
                    key = Name(run.first.head, run.first.stamp, run.first.counter + number).key
                    yield key, self._hash(run.offset + number)
        for key, offset in self.others.items():
            yield key, self._hash(offset)

    @property
    def first(self) -> tuple[str, int] | None:
        """The place of the first name."""
        return min((run.first.place for runs in self.runs.values() for run in runs), default=None)

    def last_counter(self, stamp: str | None = None) -> int:
        """The greatest counter, of a stamp or of all; 0 where there is none."""
        every = (run for runs in self.runs.values() for run in runs)
        return max((run.last for run in every if stamp in (None, run.first.stamp)), default=0)

    def overlaps(self, other: "Covers") -> bool:
        """Whether both cover the same rows under the same key; a hash that is not known is like any other."""
        others = ((self.others[key], other.others[key]) for key in self.others.keys() & other.others.keys())
        runs = (
            (one.offset + number - one.first.counter, two.offset + number - two.first.counter)
            for head, of_head in self.runs.items()
            for one in of_head
            for two in other.runs.get(head, ())
            for number in range(max(one.first.counter, two.first.counter), min(one.last, two.last) + 1)
        )
        pairs = ((self._hash(mine), other._hash(its)) for mine, its in chain(others, runs))
        return any(is_same(mine, its) for mine, its in pairs)

    def _offsets(self, key: str) -> Iterator[int]:
        if key in self.others:
            yield self.others[key]
        name = name_of(key)
        for run in () if name is None else self.runs.get(name.head, ()):
            if name is not None and run.first.counter <= name.counter <= run.last:
                yield run.offset + name.counter - run.first.counter

    def _hash(self, offset: int) -> str:
        return self.hashes[offset * HASH_DIGITS : (offset + 1) * HASH_DIGITS] or _UNKNOWN


def is_same(one: str, other: str) -> bool:
    """Whether two key hashes, or their first digits, are of the same rows; one that is not known is like any other."""
    return one[:HASH_DIGITS] == other[:HASH_DIGITS] or _UNKNOWN in (one, other)


def read_covers(metadata: Mapping[bytes, bytes] | None) -> Covers:
    """What a footer says. Raises ValueError where that cannot be understood."""
    said = metadata or {}
    items = json.loads(said.get(b"daedalus.covers", b"[]"))
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("daedalus.covers is no list of keys")
    runs: dict[str, tuple[_Run, ...]] = {}
    others: dict[str, int] = {}
    offset = 0
    for item in items:
        run = _run(item, offset)
        if run is None:
            others[item] = offset
        else:
            runs[run.first.head] = (*runs.get(run.first.head, ()), run)
        offset += 1 if run is None else len(run)
    return Covers(runs, others, said.get(b"daedalus.covers_hashes", b"").decode("ascii"), _made(said))


def handed_on(members: Iterable[tuple[str, str, datetime, Covers]]) -> dict[str, str]:
    """What the footer of an object says that takes the place of others: their key, key hash, time and covers."""
    pairs: list[tuple[str, str]] = []
    made: list[datetime] = []
    for key, key_hash, modified, covers in members:
        pairs += [(key, key_hash), *covers.items()]
        made += [covers.made or modified] if covers else []
    return covers_said(pairs) | ({"covers_made": min(made).isoformat()} if made else {})


def covers_said(covered: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The entries of a footer, without the prefix, for (key, key hash or dashes); {} for none."""
    items: list[str] = []
    hashes: list[str] = []
    for run in _runs(sorted({(key, _digits(key_hash)) for key, key_hash in covered}, key=_order)):
        first, last = name_of(run[0][0]), name_of(run[-1][0])
        if len(run) > 1 and first is not None and last is not None:
            items.append(f"{first.head}{first.counter:05d}..{last.counter:05d}.parquet")
        else:
            items.append(run[0][0])
        hashes += [key_hash for _, key_hash in run]
    return {"covers": json.dumps(items), "covers_hashes": "".join(hashes)} if items else {}


def _made(said: Mapping[bytes, bytes]) -> datetime | None:
    text = said.get(b"daedalus.covers_made", b"").decode("ascii")
    made = datetime.fromisoformat(text) if text else None
    if made is not None and made.tzinfo is None:
        raise ValueError(f"daedalus.covers_made, {text}, does not tell its zone")
    return made


def _run(item: str, offset: int) -> _Run | None:
    ranged = _RANGE.fullmatch(item)
    if ranged is None:
        name = name_of(item)
        return None if name is None else _Run(name, name.counter, offset)
    first = name_of(f"{ranged[1]}{ranged[2]}{ranged[4]}")
    last = int(ranged[3])
    return None if first is None or last < first.counter else _Run(first, last, offset)


def _digits(key_hash: str) -> str:
    return key_hash[:HASH_DIGITS] if len(key_hash) >= HASH_DIGITS else _UNKNOWN


def _order(pair: tuple[str, str]) -> tuple[str, int, str]:
    name = name_of(pair[0])
    return (pair[0], 0, pair[1]) if name is None else (name.head, name.counter, pair[1])


def _runs(pairs: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Pieces whose counters follow each other."""
    runs: list[list[tuple[str, str]]] = []
    for pair in pairs:
        name, before = name_of(pair[0]), name_of(runs[-1][-1][0]) if runs else None
        follows = name is not None and before is not None and name.head == before.head
        if follows and name is not None and before is not None and name.counter == before.counter + 1:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    return runs
