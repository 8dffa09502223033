"""The two places that objects go to: Bronze to one store, Silver and Gold to another, which may be the same."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from daedalus_common.broker.keys import EVENT_STREAMS
from daedalus_common.service import ServiceContext, StartupError, pause
from daedalus_common.stores import ObjectStore, StoreError, StoreSettings, open_store
from daedalus_writer.patience import FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS


@dataclass(frozen=True, slots=True)
class Shelf:
    """A store and the configuration section it comes from."""

    role: str
    store: ObjectStore


@dataclass(frozen=True, slots=True)
class Shelves:
    """Where the objects of each stream go."""

    bronze: Shelf
    features: Shelf

    def of(self, stream: str) -> Shelf:
        return self.bronze if stream in EVENT_STREAMS else self.features


async def open_shelves(
    bronze_settings: StoreSettings, feature_settings: StoreSettings, pool: Executor, context: ServiceContext
) -> Shelves | None:
    """Both stores, tried out; waits for one that does not answer, and gives None if the stop came first.

    Raises StartupError for one that waiting cannot mend: wrong credentials, a directory that cannot be written.
    """
    bronze = await _open(bronze_settings, pool, context)
    if bronze is None:
        return None
    if replace(feature_settings, role=bronze.role) == bronze_settings:
        return Shelves(bronze, bronze)
    features = await _open(feature_settings, pool, context)
    return None if features is None else Shelves(bronze, features)


async def _open(settings: StoreSettings, pool: Executor, context: ServiceContext) -> Shelf | None:
    role, wait_seconds = settings.role, FIRST_WAIT_SECONDS
    context.health.mark_unready(role, "not tried out yet")
    while not context.stop.is_set():
        try:
            store = open_store(settings)
            report = await asyncio.get_running_loop().run_in_executor(pool, store.probe)
        except StoreError as error:
            if not error.retryable:
                raise StartupError(str(error)) from error
            context.health.mark_unready(role, str(error))
            context.log.warning("waiting for the store", role=role, wait=wait_seconds, reason=str(error))
            await pause(context.stop, wait_seconds)
            wait_seconds = min(2 * wait_seconds, MAX_WAIT_SECONDS)
        else:
            context.health.mark_ready(role)
            context.log.info("store opened", role=role, location=report.location, server=report.server)
            for note in report.notes:
                context.log.info("about the store", role=role, note=note)
            return Shelf(role, store)
    return None
