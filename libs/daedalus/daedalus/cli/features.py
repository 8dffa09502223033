"""`daedalus features`: what is computed, with which parameters, and what each column means."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from daedalus_common.config import Config, ConfigError, load_config

if TYPE_CHECKING:
    from daedalus.cli.feature_pages import Listing

EXIT_FAILED = 1
EXIT_USAGE = 2

app = typer.Typer(
    help="List and describe the features: every column of Silver and Gold, with its unit and definition.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

_Table = Annotated[str | None, typer.Option("--table", metavar="T", help="Only of this table: orderbook, trades, ….")]
_Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The YAML configuration [default: the default parameters]."),
]
_Market = Annotated[
    str | None,
    typer.Option("--market", metavar="E:S", help="With the parameters of this market, such as binanceus:BTC/USDT."),
]
_JSON = Annotated[bool, typer.Option("--json", help="Print a JSON list instead of text.")]

_EXIT_CODES = "Exit codes: 0 shown, 1 an extension cannot be loaded, 2 unknown name or unusable configuration."


@app.command(
    name="list",
    epilog="Examples: daedalus features list | daedalus features list --table tick_bars | daedalus features list "
    f"--category rolling --config config/daedalus.yaml --market binanceus:BTC/USDT --json. {_EXIT_CODES}",
)
def list_(
    table: _Table = None,
    category: Annotated[
        str | None, typer.Option("--category", metavar="C", help="Only of this category: structural, dynamic, ….")
    ] = None,
    channel: Annotated[
        Literal["orderbook", "trades", "ticker"] | None, typer.Option("--channel", help="Only what is made of these.")
    ] = None,
    config: _Config = None,
    market: _Market = None,
    as_json: _JSON = False,
) -> None:
    """List the features: their columns, the table these stand in, unit and meaning. Extensions are included."""
    from daedalus.cli.feature_pages import UnknownName, listing_json, render_list

    listing = _listing(config, market)
    try:
        chosen = listing.only(table=table, category=category, channel=channel)
    except UnknownName as error:
        _end(str(error), EXIT_USAGE)
    if as_json:
        typer.echo(listing_json(chosen))
    else:
        _print(render_list(chosen))


@app.command(
    epilog="Examples: daedalus features describe vpin | daedalus features describe bid_price_L3 | "
    f"daedalus features describe open --table tick_bars --json. {_EXIT_CODES}"
)
def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a feature, or of a column such as rv_60s.")],
    table: _Table = None,
    config: _Config = None,
    market: _Market = None,
    as_json: _JSON = False,
) -> None:
    """Tell all about one feature: definition, unit, type, reference, inputs, state and columns."""
    from daedalus.cli.feature_pages import UnknownName, listing_json, render_description

    listing = _listing(config, market)
    try:
        found = listing.only(table=table).named(name)
    except UnknownName as error:
        _end(str(error), EXIT_USAGE)
    if as_json:
        typer.echo(listing_json(found))
    else:
        _print(render_description(found))


def _listing(file: Path | None, market: str | None) -> "Listing":
    from importlib.metadata import entry_points

    # Not at the top: NumPy takes a while to import, which other commands need not wait for.
    from daedalus.cli.feature_pages import Listing, UnknownName, parameters_of
    from daedalus_features import EXTENSIONS_GROUP, ExtensionError, load_extensions

    try:
        load_extensions(entry_points(group=EXTENSIONS_GROUP))
        return Listing.of(parameters_of(_config(file), market))
    except ExtensionError as error:
        _end(str(error), EXIT_FAILED)
    except UnknownName as error:
        _end(str(error), EXIT_USAGE)


def _config(file: Path | None) -> Config:
    try:
        return load_config(file, os.environ)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_USAGE) from None


def _end(message: str, code: int) -> NoReturn:
    typer.echo(f"daedalus features: {message}", err=True)
    raise typer.Exit(code)


def _print(page: object) -> None:
    from rich.console import Console

    # A pipe has no width: whole lines there, so that grep finds a feature with its meaning.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(page)
