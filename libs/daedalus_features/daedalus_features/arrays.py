"""Array types and the two numeric limits that every part of the catalogue shares."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NANOSECONDS = 1_000_000_000

SMALLEST, LARGEST = 1e-15, 1e15
"""A price or size is usable when it is finite and within these, both included."""

EPSILON = 2.0**-30
"""Room for rounding where a sum meets a threshold: about 1e-9, and on no decimal grid."""


einsum: Callable[..., FloatArray] = np.einsum
"""NumPy's, with the type that it has for float64 arrays. It sums each element alone, so that a row's number does not
depend on the rows computed beside it, as with a matrix product."""


sum_by: Callable[[IntArray, FloatArray, int], FloatArray] = np.bincount  # type: ignore[assignment]
"""Sums of the second array by the places in the first, for that many places: `np.bincount` with weights, typed so."""


def both(sides: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The bid and the ask part of an array with the sides in front."""
    return sides[0], sides[1]


def usable(numbers: FloatArray) -> BoolArray:
    """Whether each number may enter a feature; NaN and infinities may not."""
    return (numbers >= SMALLEST) & (numbers <= LARGEST)
