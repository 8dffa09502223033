"""Rows of a table from the features that are registered for it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from daedalus_features.arrays import FloatArray, IntArray
from daedalus_features.config import FeatureConfig
from daedalus_features.registry import Feature, Input, features_of, table_of
from daedalus_features.tables import Rows

_NOTHING: dict[str, FloatArray] = {}


class RowMaker:
    """Computes one table; raises ValueError for a feature of this table that reads none of the `sources`."""

    def __init__(self, table: str, params: FeatureConfig, *sources: type[Input]) -> None:
        self.table = table_of(table, params)
        self._features: list[tuple[Feature, slice]] = []
        self._width = 0
        for each in features_of(table, params):
            if each.source not in sources:
                known = ", ".join(source.__name__ for source in sources)
                raise ValueError(
                    f"feature {each.name}: table {table} is made of {known}; "
                    f"{each.source.__name__} needs a table and a transform of its own"
                )
            begin, self._width = self._width, self._width + len(tuple(each.columns(params)))
            if self._width > begin:
                self._features.append((each, slice(begin, self._width)))

    def rows(
        self, timestamp: IntArray, inputs: Mapping[type[Input], Any], known: Mapping[str, FloatArray] = _NOTHING
    ) -> Rows:
        """The rows at these times (r,), of an input per source, and of the features that are `known` by name (r,)."""
        values = np.empty((self._width, len(timestamp)))
        for each, place in self._features:
            found = known.get(each.name)
            values[place] = each.compute(inputs[each.source]) if found is None else found
        values[np.isinf(values)] = np.nan  # finite or null, whatever a user's feature divides by
        values += 0.0  # no -0.0, whose sign would tell in which portions sums were made
        return Rows(self.table, timestamp, np.ascontiguousarray(values.T))
