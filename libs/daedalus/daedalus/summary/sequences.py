"""Checks that a market's sequence in Bronze is whole: a deleted or doubled segment shows here, whatever it held."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from daedalus.quality.ledger import LOSS
from daedalus.quality.numbers import holes, once
from daedalus.summary.ledger import DeclaredGap, Number, Sequence
from daedalus_common.markets import Market


def check_sequences(
    before: Mapping[Market, int],
    after: Mapping[Market, int],
    seqs: Mapping[Market, Iterable[Number]],
    gaps: Mapping[Market, Iterable[DeclaredGap]],
) -> tuple[Sequence, ...]:
    """One check per market; `before` and `after` are the last numbers given before the run and in it."""
    return tuple(
        check_sequence(market, before.get(market, 0) + 1, after[market], seqs.get(market, ()), gaps.get(market, ()))
        for market in sorted(after)
    )


def check_sequence(
    market: Market, first: int, last: int, seqs: Iterable[Number], gaps: Iterable[DeclaredGap]
) -> Sequence:
    """`seqs` are the numbers of all rows of the run, in any order; they should be all from `first` to `last`."""
    counts = Counter(seqs)
    numbers, _ = once(np.array([seq for _, seq in counts], np.int64))
    return Sequence(
        market=market,
        first=first,
        last=last,
        holes=holes(np.append(numbers, last + 1), first).pairs(),
        double=tuple(sorted({seq for (_, seq), count in counts.items() if count > 1})),
        # What other gaps declare as lost, such as `spool_lost`, never had a number.
        lost=sum(gap.lost or 0 for gap in gaps if gap.reason == LOSS),
    )
