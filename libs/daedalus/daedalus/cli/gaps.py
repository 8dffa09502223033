"""`daedalus gaps`: when nobody watched, and why."""

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from daedalus.cli.asking import EXIT_FAILED, EXIT_USAGE, AsJson, end, show, show_json
from daedalus.cli.recorded import ConfigFile, DataDir, MarketName, markets_in, moment, progress, recorded

if TYPE_CHECKING:
    from daedalus.quality.gap_views import GapView

EPILOG = (
    "Examples: daedalus gaps --data-dir data | daedalus gaps --config config/daedalus.yaml --since 2h --open | "
    "daedalus gaps --data-dir data --market binanceus:BTC-USDT --since 2026-02-03 --until 2026-02-04 "
    "--reason reconnect --json. Exit codes: 0 shown, 1 the store cannot be read, 2 unknown market or wrong usage."
)


def gaps(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    market: MarketName = None,
    since: Annotated[
        str | None, typer.Option(metavar="T", help="Gaps that end at T or later: a day, a time (UTC), or 2h (ago).")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="T", help="Gaps that begin at T or before.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="R", help="Only of this reason, such as reconnect.")] = None,
    still_open: Annotated[bool, typer.Option("--open", help="Only those that no event has ended yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the recorded gaps with begin, end, duration, reason and how many events are known to be lost; then sums.

    A gap begins with the last event of its channel before it and ends with the next one (channel `control`: of any
    channel).
    """
    from concurrent.futures import ThreadPoolExecutor

    from daedalus.operations.server import UnknownMarket
    from daedalus.quality.gap_views import read_gaps, summed
    from daedalus.quality.pages import gaps_page
    from daedalus_common.stores import StoreError

    now = datetime.now(UTC)
    first, last = moment("gaps", "--since", since, now), moment("gaps", "--until", until, now, last=True)
    found = recorded("gaps", config, data_dir)
    views: list[GapView] = []
    notes: list[str] = []
    try:
        markets = markets_in(found, market)
        with progress(markets) as tick, ThreadPoolExecutor(4) as pool:
            for each in markets:
                of = read_gaps(found.stores.bronze, each, first, last, pool, partial(tick, each.name))
                views += of.views
                notes += of.problems
                if of.from_bronze:
                    notes.append(f"{each.name} has nothing in quality/gaps: these are worked out from Bronze's events")
    except UnknownMarket as error:
        end("gaps", str(error), EXIT_USAGE)
    except StoreError as error:
        end("gaps", str(error), EXIT_FAILED)
    chosen = [view for view in views if reason in (None, view.reason) and not (still_open and view.end_ts is not None)]
    if as_json:
        show_json({"gaps": [_json(view) for view in chosen], "sums": summed(chosen), "notes": notes})
    else:
        show(gaps_page(chosen, notes))


def _json(view: "GapView") -> dict[str, object]:
    from daedalus.quality.report import moment as iso

    return {
        "market": view.market,
        "channel": view.channel,
        "reason": view.reason,
        "begin": iso(view.begin),
        "end": None if view.end_ts is None else iso(view.end_ts),
        "duration_seconds": view.duration_seconds,
        "lost": view.lost,
        "declared": iso(view.ts),
        "generation": view.generation,
        "seq": view.seq,
    }
