"""Dead letters as they are stored: the fields of an entry that was not ours, as text, and back byte for byte."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_BASE64: Final = "base64:"


class DeadLetter(msgspec.Struct, frozen=True):
    """An entry that was not ours: its id in its stream, why, and its fields as `field_text` gives them."""

    id: str
    reason: str
    fields: Mapping[str, str]


class StoredLetter(msgspec.Struct, frozen=True):
    """A dead letter as the stream of dead letters has it; `entry_id` was the entry's own, in `stream`."""

    id: str
    stream: str
    entry_id: str
    reason: str
    fields: Mapping[bytes, bytes]


def field_text(value: bytes) -> str:
    """Text where it is some, else base64 after a prefix that says so."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = _BASE64
    return _BASE64 + base64.b64encode(value).decode() if text.startswith(_BASE64) else text


def field_bytes(text: str) -> bytes:
    """What `field_text` was given."""
    if text.startswith(_BASE64):
        try:
            return base64.b64decode(text.removeprefix(_BASE64), validate=True)
        except (binascii.Error, ValueError):
            pass  # written by somebody else, and meant as it stands
    return text.encode()


def stored_letter(id_: bytes, fields: Mapping[bytes, bytes]) -> StoredLetter:
    """An entry of the stream of dead letters; never raises, since anybody can add to it."""
    stream, entry_id, reason = (
        fields.get(name, b"").decode(errors="replace") for name in (b"stream", b"id", b"reason")
    )
    return StoredLetter(id_.decode(), stream, entry_id, reason, _fields(fields.get(b"fields", b"{}")))


def _fields(text: bytes) -> dict[bytes, bytes]:
    try:
        decoded: dict[str, Any] = msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.MsgspecError, ValueError):
        return {}
    return {field_bytes(name): field_bytes(value) for name, value in decoded.items()}
