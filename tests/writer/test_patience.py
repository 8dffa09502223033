"""What waits for a server keeps the replica unready for as long as it waits, and no longer."""

import asyncio

import pytest

from daedalus_common.stores import StoreUnavailable
from daedalus_common.telemetry import Health
from daedalus_writer.patience import Patience

ROLE = "storage.ingestion_storage"


async def away() -> None:
    raise StoreUnavailable("the store is away")


async def here() -> None: ...


async def waiting(patience: Patience, health: Health) -> "asyncio.Task[None]":
    """A call that waits for its next attempt."""
    task = asyncio.create_task(patience.store(ROLE, away))
    async with asyncio.timeout(20):
        while ROLE not in health.readiness().problems:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return task


async def test_a_call_that_is_given_up_leaves_nothing_unready() -> None:
    health = Health("writer")
    task = await waiting(Patience(health), health)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ROLE not in health.readiness().problems


async def test_one_that_succeeds_does_not_speak_for_one_that_waits() -> None:
    health = Health("writer")
    patience = Patience(health)
    task = await waiting(patience, health)
    await patience.store(ROLE, here)
    assert "the store is away" in health.readiness().problems[ROLE]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ROLE not in health.readiness().problems
