"""Dead letters: entries of a market's streams that the writer could not take, kept with the reason.

retry   a row of silver or gold that today's code and the market's schemas understand goes to the end of its stream
        again. An event of raw does not: it was numbered and dated when it was captured, its place in the market's
        sequence has passed, and at another place features would be computed with it at the wrong time.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from enum import StrEnum
from typing import cast

import msgspec

from daedalus_common.batches import RawEntry, decode_batch
from daedalus_common.broker import keys
from daedalus_common.broker.client import Client
from daedalus_common.broker.dead_letters import StoredLetter, stored_letter
from daedalus_common.broker.market_log import MarketLog
from daedalus_common.broker.scripts import Argument, Scripts
from daedalus_common.markets import Market
from daedalus_common.rows import RowSchema

_PAGE = 200
_ID = re.compile(r"\d{1,19}-\d{1,19}")


_PASSED = (
    "understood now, but its place in the market's sequence has passed: put back into raw, it would be computed with "
    "at the wrong time; keep it with daedalus dlq show --json, then drop it"
)


class Count(msgspec.Struct, frozen=True):
    """How many dead letters of a market's stream have the same reason."""

    market: str
    stream: str
    reason: str
    letters: int


class Result(StrEnum):
    """What became of a dead letter that was to be put back."""

    PUT_BACK = "put back"
    REFUSED = "refused"
    GONE = "gone"
    """Somebody else put it back or dropped it meanwhile."""


class Outcome(msgspec.Struct, frozen=True):
    """Of one retry: `text` is the new entry's id, or why not."""

    market: str
    id: str
    result: Result
    text: str


class UnknownLetter(Exception):
    """No dead letter of this id."""


async def letters(client: Client, market: Market) -> AsyncIterator[StoredLetter]:
    """All dead letters of a market, oldest first, a page at a time."""
    after = "-"
    while page := await _range(client, market, after, "+"):
        for id_, fields in page:
            yield stored_letter(id_, fields)
        after = f"({page[-1][0].decode()}"


async def counts(client: Client, market: Market) -> list[Count]:
    """Per stream and reason, the most frequent first."""
    found = Counter([(letter.stream, letter.reason) async for letter in letters(client, market)])
    return [Count(market.name, stream, reason, number) for (stream, reason), number in found.most_common()]


async def _range(client: Client, market: Market, first: str, last: str) -> list[RawEntry]:
    return cast(list[RawEntry], await client.xrange(keys.dead_letters(market), first, last, _PAGE))


async def newest(client: Client, market: Market, limit: int) -> list[StoredLetter]:
    """The newest dead letters of a market, newest first."""
    if not limit:
        return []
    page = cast(list[RawEntry], await client.xrevrange(keys.dead_letters(market), count=limit))
    return [stored_letter(id_, fields) for id_, fields in page]


async def find(client: Client, markets: Sequence[Market], id_: str) -> tuple[Market, StoredLetter]:
    """The dead letter of this id. Raises UnknownLetter, also where several markets have one."""
    if not _ID.fullmatch(id_):
        raise UnknownLetter(f"{id_} is no id such as 1700000000000-0; see daedalus dlq list")
    found = []
    for market in markets:
        found += [(market, stored_letter(*entry)) for entry in await _range(client, market, id_, id_)]
    if len(found) > 1:
        raise UnknownLetter(f"{id_} is in {', '.join(market.name for market, _ in found)}; name the market")
    if not found:
        where = markets[0].name if len(markets) == 1 else f"{len(markets)} markets"
        raise UnknownLetter(f"no dead letter {id_} in {where}; see daedalus dlq list")
    return found[0]


async def retry(client: Client, market: Market, chosen: Sequence[StoredLetter]) -> list[Outcome]:
    """Puts each row that is understood now back into its stream and forgets the dead letter, in one step."""
    schemas = await MarketLog(client).schemas(market)
    scripts = Scripts(client)
    return [await _retry(scripts, market, letter, schemas) for letter in chosen]


async def _retry(scripts: Scripts, market: Market, letter: StoredLetter, schemas: Mapping[bytes, RowSchema]) -> Outcome:
    reason = why_not(market, letter, schemas)
    if reason is not None:
        return Outcome(market.name, letter.id, Result.REFUSED, reason)
    fields: list[Argument] = [part for pair in letter.fields.items() for part in pair]
    reply: bytes = await scripts.call(
        "retry_letter", [keys.dead_letters(market), keys.stream(market, letter.stream)], [letter.id, *fields]
    )
    if reply == b"GONE":
        text = "somebody else put it back or dropped it meanwhile"
        return Outcome(market.name, letter.id, Result.GONE, text)
    if reply == b"NO STREAM":
        text = f"the market has no stream {letter.stream} any more"
        return Outcome(market.name, letter.id, Result.REFUSED, text)
    return Outcome(market.name, letter.id, Result.PUT_BACK, reply.decode())


async def drop(client: Client, market: Market, ids: Collection[str]) -> int:
    """Deletes dead letters of a market; returns how many were there."""
    wanted = list(ids)
    deleted = 0
    for start in range(0, len(wanted), _PAGE):
        deleted += int(await client.xdel(keys.dead_letters(market), *wanted[start : start + _PAGE]))
    return deleted


def why_not(market: Market, letter: StoredLetter, schemas: Mapping[bytes, RowSchema]) -> str | None:
    """Why the entry cannot be put back into its stream; None where it can. `schemas` are the market's, by id."""
    # Not at the top: PyArrow takes 60 MiB and a while, which a look at the letters need not wait for.
    from daedalus_common.parquet.feature_rows import feature_rows

    if letter.stream not in keys.STREAMS:
        return f"its stream is not one of ours: {letter.stream or 'none'}"
    if not letter.fields or not _ID.fullmatch(letter.entry_id):
        return "its id or its fields were not kept"
    entry: RawEntry = letter.entry_id.encode(), letter.fields
    if letter.stream == keys.RAW:
        foreign = decode_batch([entry]).foreign
    else:
        _, foreign = feature_rows(market, letter.stream, [entry], schemas)
    if foreign:
        return f"still not understood: {foreign[0].reason}"
    return _PASSED if letter.stream == keys.RAW else None
