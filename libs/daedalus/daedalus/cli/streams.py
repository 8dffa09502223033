"""`daedalus streams`: how long the streams are, and which consumer group holds them back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from daedalus.cli.asking import (
    EXIT_CODES,
    EXIT_FAILED,
    EXIT_USAGE,
    AsJson,
    ConfigFile,
    RedisUrl,
    ask,
    end,
    show,
    show_json,
)

if TYPE_CHECKING:
    from daedalus.operations.streams import GroupView, StreamView
    from daedalus_common.broker.client import Client
    from daedalus_common.markets import Market

app = typer.Typer(
    help="Show the streams and their consumer groups; remove a group that holds its stream back.\n\n"
    "Nothing is trimmed before every group has read it, so a group that nobody moves keeps its stream growing.",
    epilog="Examples: daedalus streams --config config/daedalus.yaml | daedalus streams --redis redis://cache:6379/0 "
    "--json | daedalus streams remove-group binanceus:BTC-USDT raw old-bot --config config/daedalus.yaml. "
    f"{EXIT_CODES}",
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def streams(context: typer.Context, config: ConfigFile = None, redis: RedisUrl = None, as_json: AsJson = False) -> None:
    """Of each market and stream: length, first and last entry; of each consumer group lag and oldest unread entry."""
    if context.invoked_subcommand is not None:
        if config is not None or redis is not None or as_json:
            end("streams", f"give the options after {context.invoked_subcommand}", EXIT_USAGE)
        return
    from daedalus.operations.pages import streams_page
    from daedalus.operations.streams import read_streams

    async def work(client: "Client", markets: "Sequence[Market]") -> "list[StreamView]":
        return await read_streams(client, markets)

    views = ask("streams", config, redis, work)
    if as_json:
        show_json(views)
    else:
        show(streams_page(views))


@app.command(
    name="remove-group",
    epilog="Examples: daedalus streams remove-group binanceus:BTC-USDT raw old-bot --config config/daedalus.yaml | "
    f"daedalus streams remove-group kraken:ETH/USD silver my-bot --redis redis://cache:6379/0 --yes. {EXIT_CODES}",
)
def remove_group(
    market: Annotated[str, typer.Argument(metavar="MARKET", help="Such as binanceus:BTC-USDT.")],
    stream: Annotated[
        Literal["raw", "silver", "gold", "late"], typer.Argument(metavar="STREAM", help="raw, silver, gold or late.")
    ],
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The consumer group, as daedalus streams names it.")],
    config: ConfigFile = None,
    redis: RedisUrl = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even a group of ours whose owner is at work: its service will fail.")
    ] = False,
) -> None:
    """Remove a consumer group that nobody moves, after saying what that means: what it has not read may be trimmed.

    The groups writer and featurizer are refused while a replica of that role owns the market.
    """
    from daedalus.operations.pages import printable
    from daedalus.operations.server import chosen
    from daedalus.operations.streams import (
        GroupInUse,
        NoSuchGroup,
        consequences,
        find_group,
        refuse_in_use,
    )
    from daedalus.operations.streams import remove_group as remove

    async def look(client: "Client", markets: "Sequence[Market]") -> "tuple[Market, GroupView]":
        (wanted,) = chosen(markets, market)
        return wanted, await find_group(client, wanted, stream, group)

    try:
        wanted, found = ask("streams", config, redis, look)
        if not force:
            refuse_in_use(wanted, stream, found)
        for line in consequences(wanted, stream, found):
            typer.echo(printable(line), err=True)
        if not yes:
            typer.confirm("Remove it?", abort=True, err=True)

        async def work(client: "Client", _: "Sequence[Market]") -> None:
            await remove(client, wanted, stream, group, force=force)

        ask("streams", config, redis, work)
    except NoSuchGroup as error:
        end("streams", str(error), EXIT_USAGE)
    except GroupInUse as error:
        end("streams", str(error), EXIT_FAILED)
    typer.echo(f"{wanted.name}: group {printable(group)} of {stream} is removed")
