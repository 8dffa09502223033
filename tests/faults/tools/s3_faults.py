"""Faults before an S3 server that last until they are healed.

with S3Faults(server.endpoint_url) as s3:
    ...  # services use s3.url
    s3.answer(503, "SlowDown")
    ...
    s3.heal()
"""

import http.client
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from support.s3_gateway import Answer, Ask, Fault, Request, S3Gateway, answer, cut_at_once, cut_the_body

Written = Literal["created", "replaced", "deleted"]


@dataclass(frozen=True, slots=True)
class _Rule:
    """Which requests meet the fault."""

    fault: Fault
    share: float
    methods: tuple[str, ...]

    def meets(self, request: Request, draw: Callable[[], float]) -> bool:
        return (not self.methods or request.method in self.methods) and draw() < self.share


class S3Faults:
    """A gateway before the S3 server at `upstream_url`; what it does wrong holds from the call on, until `heal`.

    Of several faults that a request meets the one set last happens. `methods` are HTTP methods, () stands for all;
    `share` is the part of the requests that meet the fault, drawn with `seed`. `hits` counts the requests that met one.
    """

    def __init__(self, upstream_url: str, *, seed: int = 0) -> None:
        self._chance = random.Random(seed)
        self._rules: list[_Rule] = []
        self._healed = threading.Event()
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._written: dict[str, Written] | None = None
        self._closed = False
        self.hits = 0
        self._gateway = _Gateway(upstream_url, self._respond)
        self._gateway.__enter__()

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return self._gateway.url

    @property
    def requests(self) -> int:
        """All since construction."""
        return self._asked.total()

    @property
    def requests_by_method(self) -> dict[str, int]:
        with self._lock:
            return dict(self._asked)

    def answer(self, status: int, code: str, *, share: float = 1.0, methods: tuple[str, ...] = ()) -> None:
        """An S3 error answers; the server is not asked."""
        self._add(answer(status, code), share, methods)

    def lose_answers(
        self, *, share: float = 1.0, methods: tuple[str, ...] = ("PUT",), silent_seconds: float = 0.0
    ) -> None:
        """The server does its work, and nobody hears of it: the connection is cut, or silent for so long before."""
        healed = self._healed

        def lose(ask: Ask) -> None:
            ask()
            healed.wait(silent_seconds)

        self._add(lose, share, methods)

    def slow(self, seconds: float, *, share: float = 1.0, methods: tuple[str, ...] = ()) -> None:
        """Every request waits so long before the server is asked; `heal` ends the waiting."""
        healed = self._healed

        def wait(ask: Ask) -> Answer:
            healed.wait(seconds)
            return ask()

        self._add(wait, share, methods)

    def cut(self, *, share: float = 1.0, methods: tuple[str, ...] = ()) -> None:
        """The connection ends before the server has heard anything."""
        self._add(cut_at_once, share, methods)

    def cut_bodies(self, *, share: float = 1.0, methods: tuple[str, ...] = ("GET",)) -> None:
        """The answer's headers promise the whole body; the connection ends in its middle."""
        self._add(cut_the_body, share, methods)

    def heal(self) -> None:
        """Every fault ends, also for the requests that wait."""
        with self._lock:
            self._rules.clear()
            self._healed.set()
            self._healed = threading.Event()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.heal()
            self._gateway.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def watched(self) -> Iterator[dict[str, Written]]:
        """What becomes of objects meanwhile, by the path of the request."""
        written = self._written = dict[str, Written]()
        try:
            yield written
        finally:
            self._written = None

    def _add(self, fault: Fault, share: float, methods: tuple[str, ...]) -> None:
        with self._lock:
            self._rules.insert(0, _Rule(fault, share, methods))

    def _respond(self, request: Request, ask: Ask) -> Answer | None:
        with self._lock:
            self._asked[request.method] += 1
            rule = next((rule for rule in self._rules if rule.meets(request, self._chance.random)), None)
            self.hits += rule is not None
        noted = partial(self._note, request, ask)
        try:
            return noted() if rule is None else rule.fault(noted)
        except (OSError, http.client.HTTPException):
            return None  # the server is away or does not answer: neither does the gateway

    def _note(self, request: Request, ask: Ask) -> Answer:
        said, written = ask(), self._written
        if written is not None and said.status < 300 and request.method in ("PUT", "DELETE"):
            conditional = any(name.lower() == "if-none-match" for name, _ in request.headers)
            made: Written = "created" if conditional else "replaced"
            written[unquote(urlsplit(request.path).path)] = "deleted" if request.method == "DELETE" else made
        return said


class _Gateway(S3Gateway):
    """Plans nothing and keeps no list: a soak makes a hundred thousand requests."""

    def __init__(self, upstream_url: str, respond: Callable[[Request, Ask], Answer | None]) -> None:
        super().__init__(upstream_url)
        self._respond = respond

    def respond(self, request: Request) -> Answer | None:
        return self._respond(request, lambda: self._ask(request))
