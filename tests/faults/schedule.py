"""Which faults meet when: drawn from the seed, the same for the same seed and cells."""

from collections.abc import Sequence
from random import Random

from faults.cells import Cell

PAIRED_SHARE = 0.9
"""So many of the cells that may meet another one do so."""


def rounds(cells: Sequence[Cell], rng: Random) -> list[tuple[Cell, ...]]:
    """Every cell once, in random order, alone or two at a time; two of one component never meet."""
    drawn = list(cells)
    rng.shuffle(drawn)
    waiting = [cell for cell in drawn if not cell.first]
    result: list[tuple[Cell, ...]] = [(cell,) for cell in drawn if cell.first]
    while waiting:
        cell = waiting.pop(0)
        partner = None
        if not cell.alone and rng.random() < PAIRED_SHARE:
            partner = next((c for c in waiting if not c.alone and c.component != cell.component), None)
        if partner is not None:
            waiting.remove(partner)
        result.append((cell,) if partner is None else (cell, partner))
    return result
