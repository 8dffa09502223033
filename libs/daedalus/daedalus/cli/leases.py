"""`daedalus leases`: who owns which market."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from daedalus.cli.asking import EXIT_CODES, AsJson, ConfigFile, RedisUrl, ask, show, show_json

if TYPE_CHECKING:
    from daedalus.operations.leases import LeaseView
    from daedalus_common.broker.client import Client
    from daedalus_common.markets import Market

EPILOG = (
    "Examples: daedalus leases --config config/daedalus.yaml | daedalus leases --redis redis://cache:6379/0 --json | "
    f"daedalus leases --config data/run/daedalus.yaml (of daedalus up). {EXIT_CODES}"
)


def leases(config: ConfigFile = None, redis: RedisUrl = None, as_json: AsJson = False) -> None:
    """Show who owns each market in each role, since when, for how much longer unless renewed, load and lag.

    A free lease is one that was given back or ran out. Times are the server's. Load is what the owner last told, in
    events a second, by which replicas share out the markets. Lag counts the entries that the role has not committed.
    """
    from daedalus.operations.leases import read_leases
    from daedalus.operations.pages import leases_page

    async def work(client: "Client", markets: "Sequence[Market]") -> "list[LeaseView]":
        return await read_leases(client, markets)

    views = ask("leases", config, redis, work)
    if as_json:
        show_json(views)
    else:
        show(leases_page(views))
