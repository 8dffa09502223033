"""What the sections share: strictness, and constrained types that can say what they allow."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WrapSerializer,
)
from pydantic_core import PydanticCustomError

from daedalus_common.config.masking import mask_secrets

MEBIBYTE = 1024 * 1024

Key = TypeVar("Key")
Item = TypeVar("Item")


class Section(BaseModel):
    """A frozen mapping with known keys. Numbers, texts and flags are not converted into each other."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    key_word: ClassVar[str] = "key"
    """What its keys are called in error messages."""

    renamed_keys: ClassVar[Mapping[str, str]] = {}
    """Older name -> today's name; both are accepted."""

    retired_keys: ClassVar[Mapping[str, str]] = {}
    """A key that has lost its meaning -> what takes its place."""

    misplaced_keys: ClassVar[Mapping[str, str]] = {}
    """A key that belongs elsewhere -> where."""

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Without secrets: a configuration may end up in a traceback or a log."""
        for name, value in super().__repr_args__():
            yield name, mask_secrets(value) if isinstance(value, (str, Mapping)) else value

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself: it is frozen, and pydantic copies defaults deeply, which read-only mappings do not allow."""
        return self


@dataclass(frozen=True, slots=True)
class Allowed:
    """Annotation of a type: what to tell the reader about it."""

    text: str


def reject(message: str, *, nearest: str | None = None, hint: str | None = None) -> NoReturn:
    """Refuses a value from inside a validator."""
    # As a placeholder: "{" and "}" of the message itself would be taken for one.
    raise PydanticCustomError("refused", "{message}", {"message": message, "nearest": nearest, "hint": hint})


def duration(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _list_to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _without_duplicates(items: tuple[Item, ...]) -> tuple[Item, ...]:
    repeated = [item for index, item in enumerate(items) if item in items[:index]]
    if repeated:
        reject(f"listed more than once: {', '.join(str(item) for item in dict.fromkeys(repeated))}")
    return items


def _ascending(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted(items))


def empty_map() -> Mapping[str, Any]:
    """Default of a `FrozenMap`."""
    return MappingProxyType({})


def _frozen(value: Mapping[Key, Item]) -> Mapping[Key, Item]:
    return MappingProxyType(dict(value))


def _thawed(value: Mapping[Key, Item], serialize: SerializerFunctionWrapHandler) -> Any:
    return serialize(dict(value))


def _http_url(value: str) -> str:
    return _checked_url(value, ("http", "https"))


def _redis_url(value: str) -> str:
    return _checked_url(value, ("redis", "rediss", "unix"))


def _checked_url(value: str, schemes: tuple[str, ...]) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        # Not the error's text: it may quote a part of the password.
        reject("no usable URL", hint="its port is no number, or its password needs percent-encoding")
    if parts.scheme not in schemes:
        reject(f"no {' or '.join(f'{scheme}://' for scheme in schemes)} URL")
    if parts.scheme == "unix":
        if not parts.path:
            reject("no usable URL", hint="the path of the socket is missing")
    elif not host:
        reject("no usable URL", hint="the host is missing")
    return value


def _existing_home(value: Any) -> Any:
    return Path(value).expanduser() if isinstance(value, str) and value else value


FrozenMap = Annotated[Mapping[Key, Item], AfterValidator(_frozen), WrapSerializer(_thawed)]
Unique = Annotated[tuple[Item, ...], BeforeValidator(_list_to_tuple), AfterValidator(_without_duplicates)]
"""A list without repetitions, kept in its order."""
Ascending = Annotated[Unique[Item], AfterValidator(_ascending)]
"""A list without repetitions, in ascending order: the order in which it was written carries no meaning."""

HttpUrl = Annotated[str, AfterValidator(_http_url), Allowed("an http:// or https:// URL")]
RedisUrl = Annotated[str, AfterValidator(_redis_url), Allowed("redis://HOST:PORT/DB, rediss://… or unix:///PATH")]
FilePath = Annotated[Path, BeforeValidator(_existing_home), Allowed("a path")]
Name = Annotated[str, Field(min_length=1), Allowed("text, not empty")]
PortNumber = Annotated[int, Field(ge=0, le=65535)]

_SYMBOL = re.compile(r"[^\s/:{}=\\]+/[^\s/:{}=\\]+(:[^\s/:{}=\\]+)?")


def _checked_symbol(value: str) -> str:
    """Refuses what is no ccxt symbol; knows nothing about which symbols an exchange has."""
    if not _SYMBOL.fullmatch(value):
        guess = re.fullmatch(r"([A-Za-z0-9]+)[-_]([A-Za-z0-9]+)", value)
        reject("no symbol", nearest=f"{guess[1].upper()}/{guess[2].upper()}" if guess else None)
    return value


Symbol = Annotated[
    str, AfterValidator(_checked_symbol), Allowed("a symbol as ccxt writes it, such as BTC/USDT or BTC/USDT:USDT")
]
