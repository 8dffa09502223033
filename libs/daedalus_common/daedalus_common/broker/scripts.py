"""The server-side scripts of `lua/`; each is one atomic step on one market's slot."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Literal, NamedTuple, get_args

from redis.exceptions import NoScriptError, ResponseError

from daedalus_common.broker.client import Client
from daedalus_common.broker.errors import refusal

ScriptName = Literal[
    "open_market",
    "publish",
    "publish_late",
    "genesis",
    "step",
    "plan",
    "advance",
    "settle",
    "take_lease",
    "give_lease",
    "see_lease",
    "see_state",
    "replicas",
    "remove_group",
    "retry_letter",
]
Argument = bytes | str | int

# At maxmemory only new events are refused. What moves a cursor lets the streams shrink again, and a lease that
# cannot be renewed stops the very services that would do so.
_REFUSED_AT_MAXMEMORY: frozenset[ScriptName] = frozenset({"publish", "publish_late"})
_ALLOWED_AT_MAXMEMORY = "#!lua flags=allow-oom\n"


class Scripts:
    """Calls a script by its name; sends its text only when the server does not know it yet."""

    def __init__(self, client: Client) -> None:
        lua = files("daedalus_common.broker") / "lua"
        fence = (lua / "fence.lua").read_text()
        self._client: Any = client
        self._scripts: dict[ScriptName, _Script] = {
            name: _script(_shebang(name) + fence + (lua / f"{name}.lua").read_text()) for name in get_args(ScriptName)
        }

    async def call(self, name: ScriptName, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """The script's reply. Raises Fenced, Conflict, or redis-py's own errors."""
        script = self._scripts[name]
        try:
            try:
                return await self._client.evalsha(script.digest, len(keys), *keys, *arguments)
            except NoScriptError:
                # To the one node that has the keys, which keeps it: SCRIPT LOAD needs every master of a cluster.
                return await self._client.eval(script.text, len(keys), *keys, *arguments)
        except ResponseError as error:
            raise refusal(error) from error


class _Script(NamedTuple):
    text: str
    digest: str


def _script(text: str) -> _Script:
    return _Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _shebang(name: ScriptName) -> str:
    return "" if name in _REFUSED_AT_MAXMEMORY else _ALLOWED_AT_MAXMEMORY
