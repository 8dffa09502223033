"""Rolling statistics over the rows of the last h seconds, for each h in rolling_windows."""

import numpy as np

from daedalus_features.arrays import FloatArray
from daedalus_features.config import FeatureConfig
from daedalus_features.registry import ColumnNames, feature
from daedalus_features.windows import RowWindows


def _per_window(prefix: str) -> ColumnNames:
    def names(params: FeatureConfig) -> list[str]:
        return [f"{prefix}_{seconds}s" for seconds in params.rolling_windows]

    return names


@feature(unit="1", columns=_per_window("rv"), reference="Andersen, Bollerslev, Diebold & Labys (2003), centred")
def rv(rows: RowWindows) -> FloatArray:
    """Sample standard deviation (ddof 1) of the log returns of mid_price between rows; null with fewer than 2."""
    returns = rows.rolling.returns
    deviation: FloatArray = np.sqrt(rows.rolling.squares / (returns - 1))
    deviation[returns < 2] = np.nan
    return deviation


@feature(unit="1", columns=_per_window("mean_return"))
def mean_return(rows: RowWindows) -> FloatArray:
    """Mean of the log returns of mid_price between rows; null without any."""
    return rows.rolling.mean


@feature(unit="1", columns=_per_window("mean_spread"))
def mean_spread(rows: RowWindows) -> FloatArray:
    """Mean of relative_spread."""
    return rows.rolling.relative_spread / rows.rolling.rows


@feature(unit="base", columns=_per_window("ofi_sum"))
def ofi_sum(rows: RowWindows) -> FloatArray:
    """Σ ofi."""
    return rows.rolling.ofi
