"""Tries again until a server answers, and lets readiness say meanwhile who does not."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from redis.exceptions import RedisError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential, wait_random

from daedalus_common.stores import ObjectMissing, StoreError
from daedalus_common.telemetry import Health, mask_url
from daedalus_writer import metrics

log = structlog.get_logger(__name__)
_T = TypeVar("_T")

FIRST_WAIT_SECONDS = 0.2
MAX_WAIT_SECONDS = 10.0


class Patience:
    """Repeats calls that are safe to repeat, for as long as it takes; cancel it to give up."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._failing = Counter[str]()
        """Check -> how many calls wait for their next attempt; what none waits for is well."""

    async def redis(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """The result of `call`; what is not an error of Redis itself, such as Fenced or Conflict, passes through."""
        return await self._until_done(call, "redis", "redis", _is_redis_error)

    async def store(self, role: str, call: Callable[[], Awaitable[_T]]) -> _T:
        """The result of `call`; `role` is what readiness calls the store.

        Refused credentials count as passing as well: while the service runs somebody may put them right, and until
        then the stream keeps the entries.
        """
        return await self._until_done(call, role, "store", _is_store_error)

    async def _until_done(
        self, call: Callable[[], Awaitable[_T]], check: str, backend: str, passing: Callable[[BaseException], bool]
    ) -> _T:
        failing = False

        def report(state: RetryCallState) -> None:
            nonlocal failing
            self._failing[check] += not failing
            failing = True
            error = state.outcome.exception() if state.outcome else None
            reason = mask_url(str(error) or type(error).__name__)
            metrics.ERRORS.labels(backend=backend).inc()
            self._health.mark_unready(check, reason)
            log.warning(
                "trying again", what=check, attempt=state.attempt_number, wait=round(state.upcoming_sleep, 1),
                reason=reason,
            )  # fmt: skip

        attempts = AsyncRetrying(
            retry=retry_if_exception(passing),
            wait=wait_exponential(FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS) + wait_random(0, FIRST_WAIT_SECONDS),
            before_sleep=report,
        )

        async def attempt() -> _T:
            return await call()  # tenacity awaits only what is declared async, which a lambda is not

        try:
            result: _T = await attempts(attempt)
        finally:  # also where it is cancelled, as nobody else may ever call
            self._failing[check] -= failing
            if not self._failing[check]:
                self._health.mark_ready(check)
        return result


def _is_redis_error(error: BaseException) -> bool:
    return isinstance(error, RedisError)


def _is_store_error(error: BaseException) -> bool:
    return isinstance(error, StoreError) and not isinstance(error, ObjectMissing)
