"""Which objects another one stands for: what `daedalus.covers` says in its footer.

    daedalus.covers         JSON list of keys; `…_00001..00720.parquet` names each counter from 1 to 720
    daedalus.covers_hashes  eight hex digits of each covered object's key hash, in the order of that list

A covered object is skipped by our readers and deleted by the compactor. Covers are handed on: who covers an object that
covers others covers those too. So a name stays covered for good, also when an object of that name is made again: a plan
that a writer carries out again after the server has lost its tail makes the same rows under the same name. The hashes
tell such an object from one that holds *other* rows under a name that became free: that one counts.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

HASH_DIGITS = 8
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

    def __bool__(self) -> bool:
        return bool(self.runs or self.others)

    def __contains__(self, key: str) -> bool:
        return next(self._offsets(key), None) is not None

    def holds(self, key: str, key_hash: str | None) -> bool:
        """Whether an object of this name and key hash is the one that is covered; one of no known hash is."""
        known = [self._hash(offset) for offset in self._offsets(key)]
        return bool(known) and (key_hash is None or _UNKNOWN in known or key_hash[:HASH_DIGITS] in known)

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

    def last_counter(self, stamp: str) -> int:
        """The greatest counter of a stamp; 0 where there is none."""
        return max((run.last for runs in self.runs.values() for run in runs if run.first.stamp == stamp), default=0)

    def overlaps(self, other: "Covers") -> bool:
        """Whether both cover a key."""
        if set(self.others) & set(other.others):
            return True
        return any(
            one.first.counter <= two.last and two.first.counter <= one.last
            for head, runs in self.runs.items()
            for one in runs
            for two in other.runs.get(head, ())
        )

    def _offsets(self, key: str) -> Iterator[int]:
        if key in self.others:
            yield self.others[key]
        name = name_of(key)
        for run in () if name is None else self.runs.get(name.head, ()):
            if name is not None and run.first.counter <= name.counter <= run.last:
                yield run.offset + name.counter - run.first.counter

    def _hash(self, offset: int) -> str:
        return self.hashes[offset * HASH_DIGITS : (offset + 1) * HASH_DIGITS] or _UNKNOWN


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
    return Covers(runs, others, said.get(b"daedalus.covers_hashes", b"").decode("ascii"))


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
