"""`daedalus dlq`: entries of the streams that were not ours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from daedalus.cli.asking import EXIT_FAILED, EXIT_USAGE, AsJson, ConfigFile, RedisUrl, ask, end, show, show_json

if TYPE_CHECKING:
    from daedalus.operations.dead_letters import Count, Outcome
    from daedalus_common.broker.client import Client
    from daedalus_common.broker.dead_letters import StoredLetter
    from daedalus_common.markets import Market

    Found = list[tuple[Market, StoredLetter]]

app = typer.Typer(
    help="Look at the dead letters: entries of the streams that the writer could not take, kept with the reason.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

_MarketName = Annotated[str | None, typer.Argument(metavar="MARKET", help="Such as binanceus:BTC-USDT [default: all].")]
_Ids = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="This one; may be given several times.")]
_All = Annotated[bool, typer.Option("--all", help="All of them.")]

_EXIT_CODES = "Exit codes: 0 done, 1 not or not all done, 2 unknown market or id, or unusable configuration."


@app.command(
    name="list",
    epilog="Examples: daedalus dlq list --config config/daedalus.yaml | daedalus dlq list binanceus:BTC-USDT --limit 5 "
    f"| daedalus dlq list --redis redis://cache:6379/0 --json. {_EXIT_CODES}",
)
def list_(
    market: _MarketName = None,
    config: ConfigFile = None,
    redis: RedisUrl = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="The newest so many of each market.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Count the dead letters by market, stream and reason, and list the newest."""
    from daedalus.operations.dead_letters import counts, newest
    from daedalus.operations.pages import letters_page
    from daedalus.operations.server import chosen

    async def work(client: "Client", markets: "Sequence[Market]") -> "tuple[list[Count], Found]":
        wanted = chosen(markets, market)
        return (
            [count for each in wanted for count in await counts(client, each)],
            [(each, letter) for each in wanted for letter in await newest(client, each, limit)],
        )

    counted, found = ask("dlq", config, redis, work)
    if as_json:
        entries = [
            {"market": each.name, "id": letter.id, "stream": letter.stream, "entry_id": letter.entry_id,
             "reason": letter.reason, "size_bytes": sum(map(len, letter.fields.values()))}
            for each, letter in found
        ]  # fmt: skip
        show_json({"counts": counted, "newest": entries})
    else:
        show(letters_page(counted, [(each.name, letter) for each, letter in found]))


@app.command(
    name="show",
    epilog="Examples: daedalus dlq show --id 1700000000000-0 --config config/daedalus.yaml | "
    f"daedalus dlq show binanceus:BTC-USDT --id 1700000000000-0 --bytes 1000000 --json > kept.json. {_EXIT_CODES}",
)
def show_(
    id_: Annotated[str, typer.Option("--id", metavar="ID", help="Of the dead letter, as daedalus dlq list has it.")],
    market: _MarketName = None,
    config: ConfigFile = None,
    redis: RedisUrl = None,
    size_bytes: Annotated[
        int, typer.Option("--bytes", min=1, metavar="N", help="So many bytes of each value, at most.")
    ] = 256,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: why it is one, and its fields, as text where they are printable, else in hex."""
    from daedalus.operations.pages import letter_json, letter_page

    ((found, letter),) = _find("show", market, [id_], every=False, config=config, redis=redis)
    if as_json:
        show_json(letter_json(found.name, letter, size_bytes))
    else:
        show(letter_page(found.name, letter, size_bytes))


@app.command(
    epilog="Examples: daedalus dlq retry --all --config config/daedalus.yaml | "
    f"daedalus dlq retry binanceus:BTC-USDT --id 1700000000000-0 --json. {_EXIT_CODES}",
)
def retry(
    market: _MarketName = None,
    ids: _Ids = None,
    every: _All = False,
    config: ConfigFile = None,
    redis: RedisUrl = None,
    as_json: AsJson = False,
) -> None:
    """Put rows of silver and gold that are understood now back at the end of their stream; tell why others are not.

    A row may be understood once its schema is declared, or by a newer version. It keeps its seq and timestamp, so its
    part is that of its hour; a live reader of the stream gets it late. An event of raw is never put back: its place in
    the market's sequence has passed.
    """
    from daedalus.operations.dead_letters import Result
    from daedalus.operations.dead_letters import retry as put_back
    from daedalus.operations.pages import outcomes_page

    found = _find("retry", market, ids, every=every, config=config, redis=redis)

    async def work(client: "Client", _: "Sequence[Market]") -> "list[Outcome]":
        by_market: dict[Market, list[StoredLetter]] = {}
        for each, letter in found:
            by_market.setdefault(each, []).append(letter)
        return [outcome for each, own in by_market.items() for outcome in await put_back(client, each, own)]

    outcomes = ask("dlq", config, redis, work)
    if as_json:
        show_json(outcomes)
    elif outcomes:
        show(outcomes_page(outcomes))
    else:
        typer.echo("no dead letters")
    if any(outcome.result is not Result.PUT_BACK for outcome in outcomes):
        raise typer.Exit(EXIT_FAILED)


@app.command(
    epilog="Examples: daedalus dlq drop --id 1700000000000-0 --config config/daedalus.yaml | "
    f"daedalus dlq drop binanceus:BTC-USDT --all --yes --json. {_EXIT_CODES}",
)
def drop(
    market: _MarketName = None,
    ids: _Ids = None,
    every: _All = False,
    config: ConfigFile = None,
    redis: RedisUrl = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters for good. With --all: those that there are when it asks, none that come later."""
    from daedalus.operations.dead_letters import drop as delete

    found = _find("drop", market, ids, every=every, config=config, redis=redis)
    if found and not yes:
        where = ", ".join(dict.fromkeys(each.name for each, _ in found))
        typer.confirm(f"Delete {len(found):,} dead letters of {where} for good?", abort=True, err=True)

    async def work(client: "Client", _: "Sequence[Market]") -> int:
        by_market: dict[Market, list[str]] = {}
        for each, letter in found:
            by_market.setdefault(each, []).append(letter.id)
        return sum([await delete(client, each, own) for each, own in by_market.items()])

    deleted = ask("dlq", config, redis, work) if found else 0
    if as_json:
        show_json({"deleted": deleted})
    else:
        typer.echo(f"{deleted:,} dead letters deleted")


def _find(
    command: str, market: str | None, ids: list[str] | None, *, every: bool, config: ConfigFile, redis: RedisUrl
) -> "Found":
    from daedalus.operations.dead_letters import UnknownLetter, find, letters
    from daedalus.operations.server import chosen

    if bool(ids) is every:
        end("dlq", f"{command} needs either --id ID or --all", EXIT_USAGE)

    async def work(client: "Client", markets: "Sequence[Market]") -> "Found":
        wanted = chosen(markets, market)
        if every:
            return [(each, letter) for each in wanted async for letter in letters(client, each)]
        return [await find(client, wanted, id_) for id_ in dict.fromkeys(ids or ())]

    try:
        return ask("dlq", config, redis, work)
    except UnknownLetter as error:
        end("dlq", str(error), EXIT_USAGE)
