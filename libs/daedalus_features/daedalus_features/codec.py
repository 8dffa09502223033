"""Bytes of a state and back: a fixed layout taken from the state's own fields, so that a new field is a new schema."""

import struct
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import numpy as np

from daedalus_features.errors import SchemaError
from daedalus_features.history import History

_INTEGER = struct.Struct("<q")
_REAL = struct.Struct("<d")
_SHAPE = struct.Struct("<II")


def layout(state: Any) -> str:
    """Names and types of a state's fields, inner dataclasses included; array shapes are data, not layout."""
    if isinstance(state, np.ndarray):
        return f"{state.dtype.str}[{state.ndim}]"
    if isinstance(state, History | float | int):
        return type(state).__name__
    if not is_dataclass(state):
        raise TypeError(f"a state cannot hold a {type(state).__name__}")
    return f"({','.join(f'{name}:{layout(getattr(state, name))}' for name in state.__dataclass_fields__)})"


def encode(state: Any) -> bytes:
    """The state's fields in order; of a History only the number of its rows."""
    pieces: list[bytes] = []
    _encode(state, pieces)
    return b"".join(pieces)


def _encode(value: Any, pieces: list[bytes]) -> None:
    if isinstance(value, np.ndarray):
        pieces.append(_SHAPE.pack(*value.shape, *[0] * (2 - value.ndim)))
        pieces.append(value.tobytes())
    elif isinstance(value, float):
        pieces.append(_REAL.pack(value))
    elif isinstance(value, int):
        pieces.append(_INTEGER.pack(value))
    elif isinstance(value, History):
        pieces.append(_INTEGER.pack(len(value)))
    else:
        for name in value.__dataclass_fields__:
            _encode(getattr(value, name), pieces)


class Decoder:
    """Reads states, one after the other, from bytes that `encode` gave for states of the same layouts.

    Raises SchemaError for bytes that end too early and for a history of fewer rows than the state had.
    """

    def __init__(self, data: bytes, history: History) -> None:
        self._data = memoryview(data)
        self._history = history

    def read(self, template: Any) -> Any:
        """The next state, of the template's layout."""
        if isinstance(template, np.ndarray):
            shape = _SHAPE.unpack(self._take(_SHAPE.size))[: template.ndim]
            size = template.itemsize
            for length in shape:
                size *= length
            return np.frombuffer(self._take(size), template.dtype).reshape(shape).copy()
        if isinstance(template, float):
            return _REAL.unpack(self._take(8))[0]
        if isinstance(template, int):
            return type(template)(_INTEGER.unpack(self._take(8))[0])
        if isinstance(template, History):
            return self._rows(_INTEGER.unpack(self._take(8))[0])
        make: Callable[..., Any] = type(template)
        return make(*(self.read(getattr(template, name)) for name in template.__dataclass_fields__))

    def finish(self) -> None:
        """Raises SchemaError when bytes are left over."""
        if self._data:
            raise SchemaError(f"state has {len(self._data)} bytes more than its layout")

    def _take(self, count: int) -> memoryview:
        if count > len(self._data):
            raise SchemaError(f"state ends {count - len(self._data)} bytes before its layout does")
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def _rows(self, count: int) -> History:
        if not 0 <= count <= len(self._history):
            raise SchemaError(f"history of {len(self._history)} rows: the state needs the last {count}")
        return self._history.newest(count) if count else History.empty()
