"""The server-side scripts of `lua/`; each is one atomic step on one market's slot."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Literal, get_args

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from daedalus_common.broker.errors import refusal

ScriptName = Literal[
    "open_market",
    "publish",
    "genesis",
    "step",
    "plan",
    "advance",
    "take_lease",
    "give_lease",
    "see_lease",
    "replicas",
    "remove_group",
    "retry_letter",
]
Argument = bytes | str | int

# At maxmemory only new events are refused. What moves a cursor lets the streams shrink again, and a lease that
# cannot be renewed stops the very services that would do so.
_REFUSED_AT_MAXMEMORY: frozenset[ScriptName] = frozenset({"publish"})
_ALLOWED_AT_MAXMEMORY = "#!lua flags=allow-oom\n"


class Scripts:
    """Calls a script by its name; sends its text only when the server does not know it yet."""

    def __init__(self, client: Redis) -> None:
        lua = files("daedalus_common.broker") / "lua"
        fence = (lua / "fence.lua").read_text()
        self._scripts = {
            name: client.register_script(_shebang(name) + fence + (lua / f"{name}.lua").read_text())
            for name in get_args(ScriptName)
        }

    async def call(self, name: ScriptName, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """The script's reply. Raises Fenced, Conflict, or redis-py's own errors."""
        try:
            return await self._scripts[name](keys=keys, args=arguments)
        except ResponseError as error:
            raise refusal(error) from error


def _shebang(name: ScriptName) -> str:
    return "" if name in _REFUSED_AT_MAXMEMORY else _ALLOWED_AT_MAXMEMORY
