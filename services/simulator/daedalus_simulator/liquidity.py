"""How much rests where: the shape of a book by distance from its touch."""

import math
from dataclasses import dataclass

from daedalus_simulator.arrivals import SECONDS_A_YEAR
from daedalus_simulator.book import Book, Side
from daedalus_simulator.draws import Draws
from daedalus_simulator.instrument import Instrument, parse_symbol


@dataclass(frozen=True, slots=True)
class Liquidity:
    """The scale of one market's book.

    ``gap`` is the mean distance of neighbouring levels at the touch, ``spread`` the usual spread, ``span`` the
    reach of the book behind its touch (all in ticks), ``lots`` the mean order size at the touch.
    """

    levels: int
    gap: int
    spread: int
    span: int
    lots: float

    def mean_lots(self, distance: int) -> float:
        """Mean order size: thin at the touch, five times as thick a tenth of the way down, thin again deep."""
        x = distance / (0.1 * self.span)
        return self.lots * (0.4 + 1.6 * x * math.exp(1 - x))


def liquidity_of(instrument: Instrument, levels: int, annual_volatility: float) -> Liquidity:
    """A believable book: one second's typical price move crosses about twelve levels, a level at the touch
    holds about 3,000 dollars."""
    price_ticks = instrument.initial_price * 10**instrument.price_decimals
    second_move = price_ticks * annual_volatility / math.sqrt(SECONDS_A_YEAR)
    gap = max(1, round(second_move / 12))
    dollars = parse_symbol(f"{instrument.base}/USDT").initial_price if instrument.base != "USDT" else 1.0
    lots = max(2.0, 3_000 / dollars * 10**instrument.size_decimals)
    # Half of the positive prices bound the book of a market with a coarse tick (a cheap base in bitcoin).
    room = max(1, int(price_ticks) // 2)
    # Gaps widen to four times the first one over the levels (see `seed_book`): their mean is 2.5 gaps.
    return Liquidity(min(levels, room), gap, max(1, gap // 2), min(room, round(2.5 * gap * levels)), lots)


def order_lots(liquidity: Liquidity, distance: int, draws: Draws) -> int:
    """The size of one resting order: log-normal around the mean of its distance."""
    return max(1, round(liquidity.mean_lots(distance) * math.exp(0.9 * draws.normal() - 0.405)))


def seed_book(book: Book, liquidity: Liquidity, mid: int, draws: Draws) -> None:
    """Fill an empty book around ``mid`` (ticks) with ``liquidity.levels`` levels a side, or as many as fit above 0."""
    half = max(1, liquidity.spread // 2)
    for side, direction in ((Side.BID, -1), (Side.ASK, 1)):
        price = mid + direction * half if direction > 0 else mid - half + (1 if liquidity.spread == 1 else 0)
        distance = 0
        for rank in range(liquidity.levels):
            if price < 1:
                break
            for _ in range(1 + (draws.uniform() < 0.5)):
                book.add(side, price, order_lots(liquidity, distance, draws))
            mean_extra = liquidity.gap * (1 + 3 * rank / liquidity.levels) - 1
            step = 1 + round(mean_extra * draws.exponential())
            price += direction * step
            distance += step
