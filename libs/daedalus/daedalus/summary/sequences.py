"""Checks that a market's sequence in Bronze is whole: a deleted or doubled segment shows here, whatever it held."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise

from daedalus.summary.ledger import DeclaredGap, Sequence
from daedalus.summary.reconcile import WHOLE_MARKET
from daedalus_common.markets import Market


def check_sequences(
    before: Mapping[Market, int], seqs: Mapping[Market, Iterable[int]], gaps: Mapping[Market, Iterable[DeclaredGap]]
) -> tuple[Sequence, ...]:
    """One check per market of `before`, which holds the last number given before the run."""
    return tuple(
        check_sequence(market, before[market] + 1, seqs.get(market, ()), gaps.get(market, ()))
        for market in sorted(before)
    )


def check_sequence(market: Market, first: int, seqs: Iterable[int], gaps: Iterable[DeclaredGap]) -> Sequence:
    """`seqs` are the numbers of all rows of the run, in any order."""
    counts = Counter(seqs)
    numbers = sorted(counts)
    steps = pairwise([first - 1, *numbers])
    return Sequence(
        market=market,
        first=first,
        last=max(numbers, default=first - 1),
        holes=tuple((low + 1, high - 1) for low, high in steps if high > low + 1),
        double=tuple(number for number in numbers if counts[number] > 1),
        lost=sum(gap.lost or 0 for gap in gaps if gap.channel == WHOLE_MARKET),
    )
