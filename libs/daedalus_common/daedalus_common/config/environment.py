"""Environment variables that override the file: `DAEDALUS__REDIS__URL=redis://cache:6379/0`.

Two underscores separate the keys, whose case does not matter. A variable may also give a whole list or section in
YAML's flow style: `DAEDALUS__CCXT__EXCHANGES__KRAKEN__CHANNELS__WATCHTRADES='[BTC/USD, ETH/USD]'`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from daedalus_common.config.documents import KeyPath, parse_value
from daedalus_common.config.errors import Problem
from daedalus_common.config.exchanges import NAMES
from daedalus_common.config.explanations import dotted, unknown_key
from daedalus_common.config.schema import Slot

PREFIX = "DAEDALUS__"

_NULLS = ("", "null", "~")


@dataclass(frozen=True, slots=True)
class Override:
    """One variable, and what it sets."""

    variable: str
    path: tuple[str, ...]
    value: Any


class _RefusedError(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def apply_overrides(values: dict[str, Any], env: Mapping[str, str], root: Slot) -> tuple[list[Override], list[Problem]]:
    """Writes the overrides of `env` into `values`, the wider ones first; tells them, and what is wrong with others."""
    overrides: list[Override] = []
    problems: list[Problem] = []
    ours = [variable for variable in env if variable.upper().startswith(PREFIX)]
    # A wider one sorts before what refines it, ccxt before the features of its markets.
    for variable in sorted(ours, key=lambda name: name.upper().split("__")):
        try:
            path, slot = _target(variable, values, root)
            override = Override(variable, path, _value(env[variable], path, slot))
        except _RefusedError as error:
            problems.append(replace(error.problem, variable=variable))
        else:
            _put(values, path, override.value)
            overrides.append(override)
    return overrides, problems


def _target(variable: str, values: dict[str, Any], root: Slot) -> tuple[tuple[str, ...], Slot]:
    slot = root
    path: tuple[str, ...] = ()
    for word in variable[len(PREFIX) :].split("__"):
        if slot.section is None and not slot.is_mapping and not slot.is_free:
            raise _RefusedError(Problem("holds no further keys", dotted(path), allowed=slot.allows()))
        key = _matching(word, _known_keys(slot, path, values))
        if slot.section is not None:
            key = slot.section.renamed_keys.get(key, key)
        child = slot.child(key)
        if child is None:
            assert slot.section is not None
            raise _RefusedError(unknown_key((*path, key.lower()), slot.section))
        path = (*path, key)
        slot = child
    return path, slot


def _known_keys(slot: Slot, path: tuple[str, ...], values: dict[str, Any]) -> Iterable[str]:
    if slot.section is not None:
        return (*slot.section.model_fields, *slot.section.renamed_keys, *slot.section.retired_keys)
    present = _get(values, path)
    names = tuple(present) if isinstance(present, dict) else ()
    if path == ("ccxt", "exchanges"):
        return (*names, *NAMES)
    if path == ("features", "markets"):
        return (*names, *_market_keys(values))
    return names


def _market_keys(values: dict[str, Any]) -> Iterable[str]:
    exchanges = _get(values, ("ccxt", "exchanges"))
    for name in exchanges if isinstance(exchanges, dict) else ():
        channels = _get(values, ("ccxt", "exchanges", name, "channels"))
        for symbols in channels.values() if isinstance(channels, dict) else ():
            for symbol in symbols if isinstance(symbols, (list, tuple)) else ():
                yield f"{name}:{symbol}"


def _matching(word: str, names: Iterable[str]) -> str:
    candidates = tuple(names)
    if word in candidates:
        return word
    by_lower = {name.lower(): name for name in candidates}
    return by_lower.get(word.lower(), word)


def _value(text: str, path: KeyPath, slot: Slot) -> Any:
    if slot.is_text:
        return None if slot.optional and text in _NULLS else text
    try:
        return parse_value(text)
    except ValueError as error:
        raise _RefusedError(Problem(str(error), dotted(path), allowed=slot.allows())) from None


def _get(values: Any, path: Iterable[str]) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    here: Any = values
    for key in path[:-1]:
        if not isinstance(here.get(key), dict):
            if here.get(key) is not None:
                return  # The file has something else than a section there, which is reported as such.
            here[key] = {}
        here = here[key]
    here[path[-1]] = value
