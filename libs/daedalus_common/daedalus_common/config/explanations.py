"""Turns pydantic's errors into problems that name what was found and what is allowed."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

from daedalus_common.config.documents import KeyPath
from daedalus_common.config.errors import Problem
from daedalus_common.config.masking import MASK, is_secret_key, mask_secrets
from daedalus_common.config.schema import Slot, nearest
from daedalus_common.config.sections.base import Section

_KEY = "[key]"
_LONGEST_FOUND = 80

_MESSAGES: dict[str, str] = {
    "finite_number": "out of range",
    "greater_than_equal": "out of range",
    "int_from_float": "wrong type",
    "less_than_equal": "out of range",
    "literal_error": "unknown value",
    "missing": "missing key",
    "string_pattern_mismatch": "wrong form",
    "string_too_short": "empty",
    "too_short": "empty",
}


def key_path(error: ErrorDetails) -> KeyPath:
    """The path of the value that an error is about; for a bad key, the path of the key."""
    return tuple(part for part in error["loc"] if part != _KEY)


def explain(error: ErrorDetails, root: Slot) -> Problem:
    """What an error means to the reader; the problem's file and line are left open."""
    path = key_path(error)
    if error["type"] == "extra_forbidden":
        parent = root.at(path[:-1])
        if parent is not None and parent.section is not None:
            return unknown_key(path, parent.section)
    slot = root.at(path)
    context: Mapping[str, Any] = error.get("ctx", {})
    value = error["input"]
    near = context.get("nearest")
    if error["type"] == "literal_error" and isinstance(value, str) and slot is not None:
        near = nearest(value, slot.allows().split(", "))
    return Problem(
        _message(error, context),
        dotted(path),
        found=None if error["type"] == "missing" else found(value, path),
        allowed=None if slot is None else slot.allows(),
        nearest=near,
        hint=context.get("hint") or _quoting_hint(value, slot),
    )


def unknown_key(path: KeyPath, section: type[Section]) -> Problem:
    """What to say of a key that `section` does not have, or no longer."""
    name = str(path[-1])
    if name in section.retired_keys:
        return Problem(f"no longer a {section.key_word}", dotted(path), hint=section.retired_keys[name])
    return Problem(
        f"unknown {section.key_word}",
        dotted(path),
        found=name,
        allowed=", ".join(section.model_fields),
        nearest=nearest(name, section.model_fields),
        hint=section.misplaced_keys.get(name),
    )


def dotted(path: KeyPath) -> str:
    """`ccxt.exchanges.kraken.channels.watchTrades[2]`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".")


def found(value: Any, path: KeyPath) -> str:
    """The value as the reader wrote it, shortened, its secrets masked."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    secret = any(isinstance(key, str) and is_secret_key(key) for key in path)
    text = MASK if secret and value != "" else repr(mask_secrets(value))
    shown = text if len(text) <= _LONGEST_FOUND else f"{text[:_LONGEST_FOUND]}…"
    if isinstance(value, Mapping):
        return f"a section: {shown}"
    if isinstance(value, (list, tuple)):
        return f"a list: {shown}"
    return shown


def _message(error: ErrorDetails, context: Mapping[str, Any]) -> str:
    if error["type"] == "refused":
        return str(context["message"])
    if error["type"] in _MESSAGES:
        return _MESSAGES[error["type"]]
    if error["type"].endswith("_type") or error["type"] == "is_instance_of":
        return "wrong type"
    return error["msg"]


def _quoting_hint(value: Any, slot: Slot | None) -> str | None:
    if slot is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and slot.is_text:
        return "put it in quotes"
    if slot.type in (int, float) and isinstance(value, str) and _is_number(value):
        return "remove the quotes"
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
