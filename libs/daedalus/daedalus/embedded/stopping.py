"""Stops a run's processes in the order of the data, so that nothing captured is left behind.

compactor stopped -> market stopped -> ingestor drained and stopped -> featurizer has read all, stopped
-> writer has written all, stopped -> ledger asked for -> simulator and server stopped
"""

import signal
from collections.abc import Sequence

from redis.exceptions import RedisError

from daedalus.embedded.draining import unread, wait_until_near, wait_until_quiet
from daedalus.embedded.http import Unreachable, fetch
from daedalus.embedded.run import Run
from daedalus.embedded.services import COMPACTOR, FEATURIZER, INGESTOR, SIMULATOR, WRITER
from daedalus.embedded.starting import until_ready
from daedalus.embedded.valkey import NAME as VALKEY
from daedalus.supervisor.policy import describe_exit
from daedalus_common.broker import keys
from daedalus_common.broker.market_log import MarketLog

_LEDGER_TIMEOUT_SECONDS = 60.0

_NEAR = 100_000
"""A reader takes that many entries in a few seconds, well within its patience at a stop (the writer's is 20 s)."""


async def stop_all(run: Run) -> None:
    """Never raises for what a process does: what went wrong is in the outcome's problems."""
    await _stop(run, COMPACTOR)
    if run.outcome.recording:
        await _stop_market(run)
    await run.counters.read(run.supervisor.running(INGESTOR))
    await _stop(run, INGESTOR)
    groups = keys.groups(features=bool(run.config.etl.channels.enabled))
    for name in (FEATURIZER, WRITER):
        await _finish(run, name, [stream for stream, readers in groups.items() if name in readers])
    await _take_stock(run)
    await _fetch_ledger(run)
    await _stop(run, SIMULATOR)
    await _stop(run, VALKEY)


async def _stop_market(run: Run) -> None:
    """With a simulator: no event may be on its way when the ingestor stops, or it would be neither here nor there."""
    if run.parts.simulator is None:
        return
    run.phase = "stopping the market"
    try:
        await fetch(f"{run.parts.simulator_url}/control/stop", post=True)
    except Unreachable as error:
        run.outcome.problems.append(f"the simulated market could not be stopped: {error}")
    run.phase = "waiting for the ingestor"
    timeout = run.config.supervisor.shutdown_timeout
    if not await wait_until_quiet(run.client, run.markets, lambda: not _can_work(run, INGESTOR), timeout):
        run.outcome.problems.append("the ingestor still published events when it was stopped")


async def _finish(run: Run, name: str, streams: Sequence[str]) -> None:
    """Stops a reader; told to stop, it first takes what its streams still hold."""
    if not run.outcome.recording:
        await _stop(run, name)
        return
    run.phase = f"waiting for the {name}"
    timeout = run.config.supervisor.shutdown_timeout
    # One that is being restarted just now would stop before it has begun to read.
    await until_ready(run, name, lambda: not _can_work(run, name))
    await wait_until_near(run.client, run.markets, streams, name, _NEAR, lambda: not _can_work(run, name), timeout)
    await _stop(run, name)
    try:
        left = await unread(run.client, run.markets, streams, name)
    except (RedisError, OSError) as error:
        run.outcome.problems.append(f"it is not known whether the {name} has read everything: {error}")
        return
    if left:
        run.outcome.problems.append(f"the {name} left {left} entries unread; another run goes on with them")


async def _stop(run: Run, name: str) -> None:
    called = "server" if name == VALKEY else name
    run.phase = f"stopping the {called}"
    code = await run.supervisor.stop(name)
    # One that dies of the signal itself was still loading, and had nothing to finish.
    if code not in (None, 0, -signal.SIGTERM):
        log = run.parts.surroundings.layout.log(name)
        run.outcome.problems.append(f"the {called} ended with {describe_exit(code)} when it was stopped; see {log}")


def _can_work(run: Run, name: str) -> bool:
    """Whether waiting for the child can help: it runs or will again, and so does the server it works on."""
    server = run.parts.valkey is None or run.supervisor.keeps(VALKEY)
    return server and run.supervisor.keeps(name)


async def _take_stock(run: Run) -> None:
    log = MarketLog(run.client)
    try:
        counts = [int(await run.client.xlen(keys.dead_letters(market))) for market in run.markets]
        ends = {market: (await log.sequence(market))[0] for market in run.markets}
    except (RedisError, OSError):
        return  # `_finish` has said so already
    run.outcome.dead_letters, run.outcome.seq_after = sum(counts), ends


async def _fetch_ledger(run: Run) -> None:
    if run.parts.simulator is None or not run.supervisor.keeps(SIMULATOR):
        return
    try:
        url = f"{run.parts.simulator_url}/control/ledger"
        run.outcome.ledger = await fetch(url, timeout_seconds=_LEDGER_TIMEOUT_SECONDS)
    except Unreachable as error:
        run.outcome.problems.append(f"the simulator does not say what it sent: {error}")
