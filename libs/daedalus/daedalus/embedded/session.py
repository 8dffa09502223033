"""One run of the embedded mode: everything started in order, watched, drained and stopped in order."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from daedalus.display.sampling import Sampler
from daedalus.display.snapshot import Sample, Snapshot, market_views
from daedalus.embedded.run import Outcome, Parts, Run
from daedalus.embedded.services import INGESTOR, rules_of
from daedalus.embedded.starting import start_all
from daedalus.embedded.stopping import stop_all
from daedalus.embedded.telemetry import BAD_FRAMES, DROPS
from daedalus.supervisor.supervisor import Notice, Supervisor, restarts
from daedalus_common.broker.client import connect_to
from daedalus_common.telemetry import mask_url

_COUNTERS_SECONDS = 2.0
_SHOWN_NOTICES = 4


class Session:
    """Run it once; `snapshot` may be asked for at any time meanwhile."""

    def __init__(self, parts: Parts, stop: asyncio.Event, notify: Callable[[Notice], None]) -> None:
        """`stop` set by somebody ends the recording; `notify` gets what an operator should read."""
        config = parts.surroundings.config
        self._notify = notify
        self._notices: deque[Notice] = deque(maxlen=_SHOWN_NOTICES)
        self._run = Run(
            parts=parts,
            supervisor=Supervisor(rules_of(config), self._on_notice),
            client=connect_to(config.redis),
            stop=stop,
            outcome=Outcome(datetime.now(UTC)),
            notify=self._on_notice,
        )
        self._sampler = Sampler(self._run.client, self._run.markets)
        self._sample: Sample | None = None
        self._recording_since: float | None = None

    async def run(self) -> Outcome:
        """Until `stop` is set, the duration is over or a child fails; then stops everything in order.

        Cancelled, it kills the children and returns at once. Raises SessionError when it cannot begin.
        """
        run = self._run
        loops = [asyncio.create_task(run.supervisor.run()), asyncio.create_task(self._keep_counting())]
        _cancel_with(asyncio.current_task(), loops)
        try:
            if await start_all(run):
                await self._record()
            await stop_all(run)
        finally:
            for loop in loops:
                loop.cancel()
            run.supervisor.kill_all()
            ends = await asyncio.gather(*loops, return_exceptions=True)
            await run.client.aclose()
            for end in ends:
                if isinstance(end, Exception):
                    raise end
        outcome = run.outcome
        outcome.failure = run.supervisor.failure
        outcome.restarts = dict(restarts(run.supervisor.status()))
        outcome.drops, outcome.bad_frames = run.counters.total(DROPS), run.counters.total(BAD_FRAMES)
        return outcome

    @property
    def phase(self) -> str:
        """What it is doing: `recording`, `stopping the writer`, …"""
        return self._run.phase

    async def snapshot(self) -> Snapshot:
        """What the display shows now."""
        run = self._run
        before, self._sample = self._sample, await self._sampler.sample(time.monotonic())
        return Snapshot(
            phase=run.phase,
            elapsed=run.outcome.recorded_for or self._elapsed(),
            duration=run.parts.duration,
            redis=mask_url(run.config.redis.url),
            data_dir=str(run.parts.surroundings.layout.root),
            markets=market_views(before, self._sample),
            services=run.supervisor.status(),
            notices=tuple(self._notices),
            # While starting and stopping, a server that does not answer is no news.
            problem=self._sample.problem if self._recording_since is not None and not run.over else None,
        )

    async def _record(self) -> None:
        run = self._run
        run.phase = "recording"
        run.outcome.recording = True
        self._recording_since = time.monotonic()
        ends = [asyncio.create_task(run.stop.wait()), asyncio.create_task(run.supervisor.failed.wait())]
        duration = run.parts.duration
        try:
            seconds = None if duration is None else duration.total_seconds()
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            run.outcome.recorded_for = self._elapsed()
            for end in ends:
                end.cancel()

    def _elapsed(self) -> timedelta:
        since = self._recording_since
        return timedelta() if since is None else timedelta(seconds=time.monotonic() - since)

    async def _keep_counting(self) -> None:
        while True:
            await asyncio.sleep(_COUNTERS_SECONDS)
            await self._run.counters.read(self._run.supervisor.running(INGESTOR))

    def _on_notice(self, notice: Notice) -> None:
        self._notices.append(notice)
        self._notify(notice)


def _cancel_with(main: asyncio.Task[Any] | None, loops: Iterable[asyncio.Task[None]]) -> None:
    """Cancels `main` when one of the loops fails: without a supervisor it would wait for ever."""

    def on_end(loop: asyncio.Task[None]) -> None:
        if main is not None and not loop.cancelled() and loop.exception() is not None:
            main.cancel()

    for loop in loops:
        loop.add_done_callback(on_end)
