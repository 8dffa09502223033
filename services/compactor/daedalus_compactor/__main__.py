"""Merges the small objects of closed partitions: `python -m daedalus_compactor --config FILE`."""

import argparse
import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event

from daedalus_common.service import ServiceContext, StartupError, pause, run_service
from daedalus_common.stores import ObjectStore, StoreError, StoreSettings, open_store
from daedalus_common.surroundings import watch_disk
from daedalus_compactor.passes import StorePasses, run_pass
from daedalus_compactor.settings import Settings, settings_from

DESCRIPTION = "Merges the small objects of closed partitions into few large ones. Run one on a store."

_THREADS = 4
_BEAT_SECONDS = 1.0
_FIRST_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.5, 30.0


class Compactor:
    """Passes until the stop, or one with `--once`."""

    def __init__(self) -> None:
        self.failed = False

    async def run(self, context: ServiceContext) -> None:
        settings = settings_from(context.config)
        once: bool = context.args.once
        if not settings.enabled and not once:
            context.log.info("compactor.enabled is false: nothing is merged")
            await self._rest(context, float("inf"))
            return
        stopping = Event()
        with ThreadPoolExecutor(_THREADS, "compact") as pool:
            passes = await self._open(context, settings, pool, stopping)
            while passes and not context.stop.is_set():
                failures = await self._pass(context, passes, stopping)
                context.log.info("pass done", failures=failures)
                self.failed = bool(failures) or (once and context.stop.is_set())
                if once or await self._rest(context, settings.every_seconds):
                    return

    async def _pass(self, context: ServiceContext, passes: list[StorePasses], stopping: Event) -> int:
        """In a thread; it ends between two objects when the stop comes."""
        work = asyncio.create_task(asyncio.to_thread(run_pass, passes, lambda: datetime.now(UTC)))
        while not work.done():
            context.health.beat()
            if context.stop.is_set():
                stopping.set()
            await asyncio.wait((work,), timeout=_BEAT_SECONDS)
        return work.result()

    async def _rest(self, context: ServiceContext, seconds: float) -> bool:
        until = asyncio.get_running_loop().time() + seconds
        while (left := until - asyncio.get_running_loop().time()) > 0 and not context.stop.is_set():
            context.health.beat()
            await pause(context.stop, min(left, _BEAT_SECONDS))
        return context.stop.is_set()

    async def _open(
        self, context: ServiceContext, settings: Settings, pool: ThreadPoolExecutor, stopping: Event
    ) -> list[StorePasses]:
        passes = []
        for each in settings.stores:
            store = await _open_store(each.store, context)
            if store is None:
                self.failed = bool(context.args.once)
                return []
            if each.store.backend == "local":
                watch_disk(each.store.role.removeprefix("storage."), each.store.base_dir)
            passes.append(StorePasses(store, each.layers, settings.rules, settings.compression, pool, stopping.is_set))
        return passes


async def _open_store(settings: StoreSettings, context: ServiceContext) -> ObjectStore | None:
    """Tried out; waits for one that does not answer, and gives None if the stop came first. Raises StartupError."""
    wait_seconds = _FIRST_WAIT_SECONDS
    context.health.mark_unready(settings.role, "not tried out yet")
    while not context.stop.is_set():
        try:
            store = open_store(settings)
            report = await asyncio.to_thread(store.probe)
        except StoreError as error:
            if not error.retryable or context.args.once:
                raise StartupError(str(error)) from error
            context.health.mark_unready(settings.role, str(error))
            context.log.warning("waiting for the store", role=settings.role, wait=wait_seconds, reason=str(error))
            await pause(context.stop, wait_seconds)
            wait_seconds = min(2 * wait_seconds, _MAX_WAIT_SECONDS)
        else:
            context.health.mark_ready(settings.role)
            context.log.info("store opened", role=settings.role, location=report.location, server=report.server)
            return store
    return None


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--once",
        action="store_true",
        help="one pass, also where compactor.enabled is false; exits with 1 if any of it failed",
    )


def main() -> int:
    compactor = Compactor()
    code = run_service("compactor", DESCRIPTION, compactor.run, sys.argv[1:], os.environ, add_arguments=_arguments)
    return code or int(compactor.failed and "--once" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
