"""How the exchange can be made to misbehave; parsed here, fired by the exchange."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import orjson

from daedalus_simulator.frames import CHANNELS, Channel

_MALFORMED = '{"e":"depthUpdate","E":17231612'
_ERROR_FRAME: dict[str, object] = {"type": "error", "message": "internal error"}
_STATUSES = (418, 429, 503)

How = Literal["abort", "close"]


class FaultError(ValueError):
    """A fault request that names no fault we know, or lacks or misuses a field."""


@dataclass(frozen=True, slots=True)
class Drop:
    """End connections: ``abort`` cuts them (unsent bytes are lost), ``close`` says goodbye first."""

    symbol: str | None
    how: How


@dataclass(frozen=True, slots=True)
class Skip:
    """Withhold the next ``count`` frames of one stream: they are generated, but not sent."""

    symbol: str
    channel: Channel
    count: int


@dataclass(frozen=True, slots=True)
class Text:
    """Send a frame that belongs to no stream: broken JSON (``malformed``) or an error (``error_frame``)."""

    kind: Literal["malformed", "error_frame"]
    symbol: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Stall:
    """A dead feed: for ``seconds`` nothing but pongs is sent on the connections open now (only frames of
    ``symbol`` withheld, if given). They stay open, what is generated meanwhile is never sent; a connection
    opened later works, so a client that rebuilds itself recovers at once."""

    symbol: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """Answer the next ``count`` requests, or all for ``seconds``, with an HTTP error. It concerns REST paths
    that contain ``path``; with ``websocket`` also the websocket handshake."""

    status: int
    count: int | None
    seconds: float | None
    retry_after_seconds: int | None
    path: str
    websocket: bool


Fault = Drop | Skip | Text | Stall | Status

KINDS = ("drop", "skip", "malformed", "stall", "status", "error_frame")


def fault_kind(fault: Fault) -> str:
    return fault.kind if isinstance(fault, Text) else type(fault).__name__.lower()


def fault_json(fault: Fault) -> dict[str, object]:
    return {**asdict(fault), "kind": fault_kind(fault)}


def parse_fault(body: object) -> Fault:
    """The fault a control request asks for. Raises ``FaultError`` that names the field and what is allowed."""
    if not isinstance(body, Mapping):
        raise FaultError(f'expected a JSON object such as {{"kind": "drop"}}, one of the kinds {", ".join(KINDS)}')
    fields = _Fields(dict(body))
    kind = fields.text("kind", None)
    match kind:
        case "drop":
            fault: Fault = Drop(fields.optional_text("symbol"), _how(fields.text("how", "abort")))
        case "skip":
            channel = _channel(fields.text("channel", "depth"))
            fault = Skip(fields.text("symbol", None), channel, int(fields.number("count", 1)))
        case "malformed":
            fault = Text("malformed", fields.optional_text("symbol"), fields.text("text", _MALFORMED))
        case "error_frame":
            frame = fields.pop("frame", _ERROR_FRAME)
            fault = Text("error_frame", fields.optional_text("symbol"), orjson.dumps(frame).decode())
        case "stall":
            fault = Stall(fields.optional_text("symbol"), fields.number("seconds", None))
        case "status":
            fault = _status(fields)
        case _:
            raise FaultError(f"kind {kind!r} is unknown; allowed: {', '.join(KINDS)}")
    fields.reject_rest(kind)
    return fault


def _status(fields: "_Fields") -> Status:
    status = int(fields.number("status", 429))
    if status not in _STATUSES:
        raise FaultError(f"status {status} is not allowed; allowed: {', '.join(map(str, _STATUSES))}")
    count = fields.optional_number("count")
    seconds = fields.optional_number("seconds")
    if count is None and seconds is None:
        count = 1
    retry_after = fields.optional_number("retry_after_seconds")
    return Status(
        status,
        None if count is None else int(count),
        seconds,
        None if retry_after is None else int(retry_after),
        fields.text("path", ""),
        fields.pop("websocket", False) is True,
    )


def _how(text: str) -> How:
    for how in get_args(How):
        if text == how:
            return "abort" if how == "abort" else "close"
    raise FaultError(f"how {text!r} is unknown; allowed: abort, close")


def _channel(text: str) -> Channel:
    for channel in CHANNELS:
        if channel == text:
            return channel
    raise FaultError(f"channel {text!r} is unknown; allowed: {', '.join(CHANNELS)}")


class _Fields:
    """The fields of a request, each taken out once, with its type checked."""

    def __init__(self, body: dict[str, object]) -> None:
        self._body = body

    def pop(self, name: str, default: object) -> object:
        return self._body.pop(name, default)

    def text(self, name: str, default: str | None) -> str:
        value = self._body.pop(name, default)
        if not isinstance(value, str):
            raise FaultError(f"{name} must be a text" if value is not None else f"{name} is missing")
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self._body.get(name) is None else self.text(name, None)

    def number(self, name: str, default: float | None) -> float:
        value = self._body.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise FaultError(f"{name} must be a number above 0" if value is not None else f"{name} is missing")
        return value

    def optional_number(self, name: str) -> float | None:
        return None if self._body.get(name) is None else self.number(name, None)

    def reject_rest(self, kind: str) -> None:
        rest = [name for name, value in self._body.items() if value is not None]
        if rest:
            raise FaultError(f"{', '.join(sorted(rest))}: no such field of a {kind}")
