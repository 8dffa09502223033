"""What the names of segments tell: their numbers count from 1 in each hour and table, without a hole."""

import re
from collections import defaultdict
from collections.abc import Iterable

_NUMBERED = re.compile(r"(.*_)(\d{5,})(\.parquet)")
_MOST = 100


def missing_names(keys: Iterable[str]) -> tuple[str, ...]:
    """Segments that must have been there by the numbers of those before and behind them."""
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for key in keys:
        named = _NUMBERED.fullmatch(key)
        if named is not None:
            numbers[named[1], named[3]].append(int(named[2]))
    found: list[str] = []
    for (head, tail), counters in sorted(numbers.items()):
        gone = sorted(set(range(1, max(counters))) - set(counters))[:_MOST] if max(counters) < 10**6 else []
        found += [f"{head}{number:05d}{tail}" for number in gone]
    return tuple(found)
