"""`daedalus etl`: tables computed from a recorded history."""

import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from daedalus.cli.etl_running import Manner, Wishes

_EXIT_CODES = (
    "Exit codes: 0 done (also when there was nothing to do); 1 failed, what was finished is kept: run the same command "
    "again; 2 wrong usage or configuration; 3 done, but the output lacks something: damaged segments, bad lines, or "
    "events missing in the input; 130 or 143 stopped by Ctrl-C or SIGTERM, kept likewise."
)
_RUN_EXAMPLES = (
    "Examples: daedalus etl run orderbook --input data --output data | daedalus etl run all --config FILE --workers 4 "
    "| daedalus etl run trades bars --input s3://lake/prod --output s3://lake/research --symbol BTC/USDT "
    "--from 2026-02-01 --to 2026-02-07 | daedalus etl run all --input events.ndjson --output out | "
    "daedalus etl run all --config FILE --date 2026-02-03 --dry-run. "
)
_WATCH_EXAMPLES = (
    "Examples: daedalus etl watch --config FILE | daedalus etl watch orderbook --input data --output out "
    "--poll-interval 10. "
)
_BACKFILL_EXAMPLES = (
    "Examples: daedalus etl backfill --config FILE --workers 4 | daedalus etl backfill --input data --output out "
    "--cluster tcp://10.0.0.5:8786. "
)

app = typer.Typer(
    help="Compute Silver and Gold tables from a recorded history: once, again and again, or all of it.",
    epilog=_RUN_EXAMPLES + "`daedalus etl COMMAND --help` tells more.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

_Targets = Annotated[
    list[str], typer.Argument(metavar="TARGET...", help="orderbook, trades, ticker (Silver), bars (Gold), or all.")
]
_Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Gives parameters, and input, output and state where not given."),
]
_Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="PLACE",
        help="The folder or s3://bucket/prefix that holds bronze/, or NDJSON files (.ndjson, .jsonl, also .gz) or a "
        "folder of them; may be given several times. Keys and endpoint of S3 are those of the configuration, or "
        "boto3's own.",
    ),
]
_Output = Annotated[str | None, typer.Option("--output", metavar="PLACE", help="A folder or s3://bucket/prefix.")]
_Exchange = Annotated[str | None, typer.Option(metavar="NAME", help="Only this exchange.")]
_Symbol = Annotated[str | None, typer.Option(metavar="SYMBOL", help="Only this symbol, such as BTC/USDT.")]
_From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="DAY",
        help="The first UTC day, such as 2026-02-03. Features start from nothing there, with the parameters of the "
        "latest genesis recorded before, else the configuration's.",
    ),
]
_To = Annotated[str | None, typer.Option("--to", metavar="DAY", help="The last UTC day.")]
_Date = Annotated[str | None, typer.Option("--date", metavar="DAY", help="This UTC day only.")]
_Limit = Annotated[int | None, typer.Option(metavar="N", help="At most N events of each market, from its beginning.")]
_Workers = Annotated[int, typer.Option(metavar="N", help="Markets computed at a time, each in a process.")]
_Cluster = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Compute on the Dask cluster of this scheduler (extra `cluster`)."),
]
_Parameters = Annotated[
    str,
    typer.Option(
        metavar="recorded|config",
        help="recorded: follow the geneses in Bronze, as live did (a market without any: the configuration's "
        "parameters). config: leave them aside and use the configuration's.",
    ),
]
_Replace = Annotated[
    bool, typer.Option("--replace", help="Put the rows in the place of those that live or another run has written.")
]
_Restart = Annotated[bool, typer.Option("--restart", help="Forget the checkpoints and compute from the beginning.")]
_StateDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where checkpoints go [default: storage.paths.state_dir of the configuration]."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON, alone on stdout.")]


@app.command(epilog=_RUN_EXAMPLES + _EXIT_CODES)
def run(
    targets: _Targets,
    config: _Config = None,
    input_: _Input = None,
    output: _Output = None,
    exchange: _Exchange = None,
    symbol: _Symbol = None,
    first: _From = None,
    last: _To = None,
    day: _Date = None,
    limit: _Limit = None,
    workers: _Workers = 1,
    cluster: _Cluster = None,
    parameters: _Parameters = "recorded",
    replace: _Replace = False,
    restart: _Restart = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be computed.")] = False,
    state_dir: _StateDir = None,
    as_json: _Json = False,
) -> None:
    """Compute tables from Bronze or NDJSON files; what was computed before is left alone.

    Progress is kept after every task of at most a day: after a stop or a crash the same command goes on from there,
    and gives the same rows as if nothing had happened.
    """
    from daedalus.cli.etl_running import run_once

    begin, end = _range(first, last, day)
    wishes = _wishes(
        targets, config, input_, output, state_dir, exchange, symbol, begin, end, limit, workers, cluster,
        parameters, replace, restart,
    )  # fmt: skip
    raise typer.Exit(run_once(wishes, _manner(as_json), os.environ, dry_run=dry_run))


@app.command(epilog=_WATCH_EXAMPLES + _EXIT_CODES)
def watch(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[TARGET...]", help="As of run [default: all that are enabled].")
    ] = None,
    config: _Config = None,
    input_: _Input = None,
    output: _Output = None,
    exchange: _Exchange = None,
    symbol: _Symbol = None,
    first: _From = None,
    workers: _Workers = 1,
    cluster: _Cluster = None,
    parameters: _Parameters = "recorded",
    replace: _Replace = False,
    restart: _Restart = False,
    poll_interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Between two looks for new segments.")
    ] = 30.0,
    state_dir: _StateDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a report as one line of JSON per look.")] = False,
) -> None:
    """Compute what there is, and then whatever comes, until stopped.

    Waits for a store that is away. Segments are read once nothing before them can still come.
    """
    from daedalus.cli.etl_running import run_watching

    wishes = _wishes(
        targets, config, input_, output, state_dir, exchange, symbol, _day("--from", first), None, None, workers,
        cluster, parameters, replace, restart,
    )  # fmt: skip
    raise typer.Exit(run_watching(wishes, _manner(as_json), os.environ, poll_interval))


@app.command(epilog=_BACKFILL_EXAMPLES + _EXIT_CODES)
def backfill(
    config: _Config = None,
    input_: _Input = None,
    output: _Output = None,
    exchange: _Exchange = None,
    symbol: _Symbol = None,
    workers: _Workers = 1,
    cluster: _Cluster = None,
    parameters: _Parameters = "recorded",
    replace: _Replace = False,
    restart: _Restart = False,
    state_dir: _StateDir = None,
    as_json: _Json = False,
) -> None:
    """Compute every enabled table of every market over the whole history, with a summary per market and day.

    Leaves alone what is done; afterwards `watch` or another `backfill` goes on where it ended.
    """
    from daedalus.cli.etl_running import run_once

    wishes = _wishes(
        None, config, input_, output, state_dir, exchange, symbol, None, None, None, workers, cluster, parameters,
        replace, restart,
    )  # fmt: skip
    raise typer.Exit(run_once(wishes, _manner(as_json, by_day=True), os.environ))


def _wishes(
    targets: list[str] | None,
    config: Path | None,
    input_: list[str] | None,
    output: str | None,
    state_dir: Path | None,
    exchange: str | None,
    symbol: str | None,
    begin: date | None,
    end: date | None,
    limit: int | None,
    workers: int,
    cluster: str | None,
    parameters: str,
    replace: bool,
    restart: bool,
) -> "Wishes":
    from daedalus.cli.etl_running import Wishes
    from daedalus.etl.filters import FilterSpec

    if parameters not in ("recorded", "config"):
        raise typer.BadParameter(f"{parameters!r} is neither recorded nor config", param_hint="--parameters")
    try:
        filters = FilterSpec(exchange, symbol, begin, end)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--from/--to") from None
    return Wishes(
        targets=None if targets is None else tuple(targets),
        config=config,
        input=tuple(input_ or ()),
        output=output,
        state_dir=state_dir,
        filters=filters,
        limit=limit,
        workers=workers,
        cluster=cluster,
        parameters="config" if parameters == "config" else "recorded",
        replace=replace,
        restart=restart,
    )


def _manner(as_json: bool, by_day: bool = False) -> "Manner":
    from daedalus.cli.etl_running import Manner

    return Manner(as_json, by_day)


def _range(first: str | None, last: str | None, day: str | None) -> tuple[date | None, date | None]:
    if day is not None and (first is not None or last is not None):
        raise typer.BadParameter("give either --date, or --from and --to", param_hint="--date")
    if day is not None:
        return _day("--date", day), _day("--date", day)
    return _day("--from", first), _day("--to", last)


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day such as 2026-02-03", param_hint=option) from None
