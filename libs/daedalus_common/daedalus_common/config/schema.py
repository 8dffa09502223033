"""Walks the models by key path, to say what a place allows and to name what stands nearby."""

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from daedalus_common.config.sections.base import Allowed, Section


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the configuration: its bare type, the constraints on it, and whether it may be null."""

    type: Any
    constraints: tuple[Any, ...] = ()
    optional: bool = False

    @property
    def section(self) -> type[Section] | None:
        """The model, where the place is a section with known keys."""
        return self.type if isinstance(self.type, type) and issubclass(self.type, Section) else None

    @property
    def is_mapping(self) -> bool:
        """Whether the place is a section with free keys, such as exchange names."""
        return get_origin(self.type) is Mapping

    @property
    def is_free(self) -> bool:
        """Whether the place takes anything, as below an exchange's options."""
        return self.type is Any

    @property
    def is_text(self) -> bool:
        """Whether the place holds text, so that `007` is no number."""
        return self.type in (str, SecretStr, Path) or get_origin(self.type) is Literal

    def child(self, key: str | int) -> "Slot | None":
        """The place below; None where the models know none."""
        if self.section is not None:
            field = self.section.model_fields.get(str(key))
            return None if field is None else _slot(field.annotation, tuple(field.metadata))
        if self.is_mapping:
            return _slot(get_args(self.type)[1])
        if self.is_free:
            return self
        if get_origin(self.type) is tuple and isinstance(key, int):
            return _slot(get_args(self.type)[0])
        return None

    def at(self, path: Iterable[str | int]) -> "Slot | None":
        slot: Slot | None = self
        for key in path:
            slot = slot.child(key) if slot is not None else None
        return slot

    def allows(self) -> str:
        """What a reader may write here, in words."""
        text = self._allows()
        return f"{text}, or null" if self.optional else text

    def _allows(self) -> str:
        for constraint in self.constraints:
            if isinstance(constraint, Allowed):
                return constraint.text
        if self.is_free:
            return "anything"
        if self.section is not None:
            return f"a section with {', '.join(self.section.model_fields)}"
        if self.is_mapping:
            return "a section"
        if get_origin(self.type) is tuple:
            kind = "a list of at least one item" if self._bound("min_length") else "a list"
            return f"{kind}, each {_slot(get_args(self.type)[0]).allows()}"
        if get_origin(self.type) is Literal:
            return ", ".join(str(value) for value in get_args(self.type))
        if self.type is bool:
            return "true or false"
        if self.type in (int, float):
            return f"{'a whole number' if self.type is int else 'a number'}{self._range()}"
        return "text"

    def _range(self) -> str:
        low, high = self._bound("ge"), self._bound("le")
        return "" if low is None or high is None else f" from {_plain(low)} to {_plain(high)}"

    def _bound(self, name: str) -> Any:
        for constraint in self.constraints:
            if (bound := getattr(constraint, name, None)) is not None:
                return bound
        return None


def root_slot(model: type[Section]) -> Slot:
    return Slot(model)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The most similar name, whatever its case; None where none is similar."""
    by_lower = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1)
    return by_lower[close[0]] if close else None


def _slot(annotation: Any, constraints: tuple[Any, ...] = ()) -> Slot:
    optional = False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *extra = get_args(annotation)
            constraints = (*constraints, *extra)
        elif get_origin(annotation) in (Union, types.UnionType):
            annotation = next(choice for choice in get_args(annotation) if choice is not types.NoneType)
            optional = True
        else:
            return Slot(annotation, tuple(_flat(constraints)), optional)


def _flat(constraints: Iterable[Any]) -> Iterable[Any]:
    for constraint in constraints:
        if isinstance(constraint, FieldInfo):
            yield from constraint.metadata
        elif isinstance(constraint, annotated_types.GroupedMetadata):
            yield from constraint
        else:
            yield constraint


def _plain(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"
