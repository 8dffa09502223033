"""The parameters of the catalogue: validated once, written canonically, identified by a hash."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal, TypeVar, get_args

from daedalus_features.arrays import LARGEST, NANOSECONDS, SMALLEST

Category = Literal["structural", "dynamic", "rolling"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
Channel = Literal["orderbook", "trades", "ticker"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)

Name = TypeVar("Name", bound=str)

_LONGEST_SECONDS = 10**9
"""Keeps every timestamp plus or minus a window or bar within int64 nanoseconds."""
_MOST_HISTORY_ROWS = 1_000_000
_MOST_LEVELS = 10_000
_MOST_BUCKETS = 10_000
_MOST_TRADES = 10**9
_COUNTS = (
    "tick_bar_size", "imbalance_bar_ticks", "imbalance_bar_span", "imbalance_bar_min_ticks", "imbalance_bar_max_ticks",
)  # fmt: skip
_REALS = (
    ("ofi_decay_alpha", 0.0, LARGEST),
    ("smart_depth_decay", 0.0, LARGEST),
    ("vpin_bucket_size", SMALLEST, LARGEST),
    ("volume_bar_size", SMALLEST, LARGEST),
    ("dollar_bar_size", SMALLEST**2, LARGEST**2),
)


@dataclass(frozen=True)
class FeatureConfig:
    """Every number that shapes the features of one market. Raises ValueError naming the parameter at fault.

    Windows and bar durations are whole seconds, `emit_interval_ns` is nanoseconds, `vpin_bucket_size` and
    `volume_bar_size` are base units, `dollar_bar_size` is quote; the other bar sizes count trades. Only the tables of
    the `channels` are computed.
    """

    emit_interval_ns: int = NANOSECONDS
    book_levels: int = 50
    depth_levels: int = 20
    rolling_windows: tuple[int, ...] = (5, 15, 60, 300, 900)
    bar_durations: tuple[int, ...] = (60, 300, 900, 3600)
    ofi_decay_alpha: float = 0.5
    smart_depth_decay: float = 0.5
    kyle_window: int = 300
    regime_window: int = 900
    vpin_bucket_size: float = 1.0
    vpin_buckets: int = 50
    tick_bar_size: int = 100
    volume_bar_size: float = 10.0
    dollar_bar_size: float = 1e5
    imbalance_bar_ticks: int = 100
    imbalance_bar_span: int = 1000
    imbalance_bar_min_ticks: int = 10
    imbalance_bar_max_ticks: int = 1000
    categories: tuple[Category, ...] = CATEGORIES
    channels: tuple[Channel, ...] = CHANNELS

    def __post_init__(self) -> None:
        _whole("emit_interval_ns", self.emit_interval_ns, 1, _LONGEST_SECONDS * NANOSECONDS)
        _whole("book_levels", self.book_levels, 1, _MOST_LEVELS)
        _whole("depth_levels", self.depth_levels, 1, self.book_levels)
        for window in ("kyle_window", "regime_window"):
            _whole(window, getattr(self, window), 1, _LONGEST_SECONDS)
        _whole("vpin_buckets", self.vpin_buckets, 1, _MOST_BUCKETS)
        for name in _COUNTS:
            _whole(name, getattr(self, name), 1, _MOST_TRADES)
        if self.imbalance_bar_min_ticks > self.imbalance_bar_max_ticks:
            raise ValueError(
                f"imbalance_bar_min_ticks: {self.imbalance_bar_min_ticks} is more than "
                f"imbalance_bar_max_ticks = {self.imbalance_bar_max_ticks}"
            )
        for name, least, most in _REALS:
            self._set(name, _real(name, getattr(self, name), least, most))
        self._set("rolling_windows", _seconds("rolling_windows", self.rolling_windows))
        self._set("bar_durations", _seconds("bar_durations", self.bar_durations))
        self._set("categories", _chosen("categories", self.categories, CATEGORIES))
        self._set("channels", _chosen("channels", self.channels, CHANNELS))
        for duration in self.bar_durations:
            if duration * NANOSECONDS % self.emit_interval_ns:
                raise ValueError(
                    f"bar_durations: {duration} s is not a multiple of emit_interval_ns = {self.emit_interval_ns}"
                )
        if history_limit(self) > _MOST_HISTORY_ROWS:
            raise ValueError(
                f"emit_interval_ns: {self.emit_interval_ns} is too short for a window of {longest_window(self)} s, "
                f"which would keep {history_limit(self)} rows (at most {_MOST_HISTORY_ROWS})"
            )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def to_json(self) -> bytes:
        """The canonical JSON: sorted keys, no spaces; equal parameters give equal bytes."""
        return self._canonical

    @cached_property
    def _canonical(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_json(cls, document: bytes | str) -> "FeatureConfig":
        """The parameters of a JSON object that names every one of them and nothing else.

        Raises ValueError: nothing is filled in, since the parameters of a genesis decide what its rows mean.
        """
        try:
            found = json.loads(document)
        except ValueError as error:
            raise ValueError(f"the parameters are not JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"the parameters are a JSON {type(found).__name__}, not an object")
        for name in found:
            if name not in PARAMETERS:
                raise ValueError(f"{name}: unknown parameter{nearest(name, PARAMETERS)}")
        missing = [name for name in PARAMETERS if name not in found]
        if missing:
            raise ValueError(f"{missing[0]}: missing (all missing: {', '.join(missing)})")
        return cls(**found)

    def restricted(self, channels: Iterable[Channel]) -> "FeatureConfig":
        """The same parameters for those of their channels only that are named; raises ValueError for an unknown one."""
        wanted = _chosen("channels", tuple(channels), CHANNELS)
        return replace(self, channels=tuple(channel for channel in self.channels if channel in wanted))

    def to_compact(self) -> bytes:
        """The values alone, a third as long: for a reader that has the same PARAMETERS."""
        return self._compact

    @cached_property
    def _compact(self) -> bytes:
        values = [getattr(self, name) for name in PARAMETERS]
        return json.dumps(values, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_compact(cls, document: bytes) -> "FeatureConfig":
        """What `to_compact` wrote; raises ValueError for anything else."""
        values = json.loads(document)
        if not isinstance(values, list) or len(values) != len(PARAMETERS):
            raise ValueError(f"parameters of another form than a list of {len(PARAMETERS)} values")
        return cls(*values)

    @property
    def hash(self) -> str:
        """16 hex digits that change with any parameter."""
        return hashlib.sha256(self.to_json()).hexdigest()[:16]


PARAMETERS = tuple(field.name for field in fields(FeatureConfig))


def longest_window(params: FeatureConfig) -> int:
    """Seconds of the longest window that looks back over rows."""
    return max(*params.rolling_windows, params.kyle_window, params.regime_window)


def history_limit(params: FeatureConfig) -> int:
    """The most rows that any window can hold: what the ring of recent rows is cut to."""
    return -(-longest_window(params) * NANOSECONDS // params.emit_interval_ns)


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name}: {value!r} is not a whole number from {least} to {most}")
    return value


def _real(name: str, value: Any, least: float, most: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not least <= value <= most:
        raise ValueError(f"{name}: {value!r} is not a number from {least:g} to {most:g}")
    return float(value)


def _distinct(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(f"{name}: {values!r} is not a list")
    if len(set(map(repr, values))) != len(values):
        raise ValueError(f"{name}: {list(values)!r} holds a value twice")
    return tuple(values)


def _seconds(name: str, values: Any) -> tuple[int, ...]:
    return tuple(_whole(name, value, 1, _LONGEST_SECONDS) for value in _distinct(name, values))


def _chosen(name: str, values: Any, known: tuple[Name, ...]) -> tuple[Name, ...]:
    """The values in the order in which they are known."""
    chosen = _distinct(name, values)
    for value in chosen:
        if value not in known:
            raise ValueError(f"{name}: {value!r} is none of {', '.join(known)}{nearest(str(value), known)}")
    return tuple(each for each in known if each in chosen)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is most like this one, empty when none is."""
    match = get_close_matches(name, list(known), n=1)
    return f" (nearest: {match[0]})" if match else ""
