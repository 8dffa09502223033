"""Shows a running session: a live display on a terminal, otherwise a line every few seconds. All on stderr."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from rich.console import Console
from rich.live import Live

from daedalus.display.render import plain_line, render
from daedalus.embedded.session import Session

_LIVE_SECONDS = 1.0
_PHASE_SECONDS = 0.2
_OFTEN = timedelta(seconds=5)
_SELDOM = timedelta(minutes=1)
"""After the first minute: a run of months should not fill a journal."""


async def show_live(session: Session, console: Console) -> None:
    """Until cancelled; leaves the last screen standing."""
    with Live(console=console, auto_refresh=False, transient=False) as live, suppress(asyncio.CancelledError):
        while True:
            live.update(render(await session.snapshot()), refresh=True)
            await asyncio.sleep(_LIVE_SECONDS)


async def show_lines(session: Session, console: Console) -> None:
    """Until cancelled: a line every few seconds, later every minute, and one when the phase changes."""
    phase, due = "", 0.0
    now = asyncio.get_running_loop().time
    while True:
        if session.phase != phase or now() >= due:
            snapshot = await session.snapshot()
            console.print(plain_line(snapshot), soft_wrap=True, highlight=False, markup=False)
            pause = _OFTEN if snapshot.elapsed < _SELDOM else _SELDOM
            phase, due = snapshot.phase, now() + pause.total_seconds()
        await asyncio.sleep(_PHASE_SECONDS)
