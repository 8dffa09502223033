"""The command `daedalus` and what hangs below it."""

import os
import signal
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from daedalus.cli.audit import EPILOG as AUDIT_EPILOG
from daedalus.cli.audit import audit
from daedalus.cli.config import app as config_app
from daedalus.cli.dlq import app as dlq_app
from daedalus.cli.doctor import EPILOG as DOCTOR_EPILOG
from daedalus.cli.doctor import doctor
from daedalus.cli.etl import app as etl_app
from daedalus.cli.features import app as features_app
from daedalus.cli.gaps import EPILOG as GAPS_EPILOG
from daedalus.cli.gaps import gaps
from daedalus.cli.leases import EPILOG as LEASES_EPILOG
from daedalus.cli.leases import leases
from daedalus.cli.streams import app as streams_app
from daedalus.cli.up import EPILOG, up

app = typer.Typer(
    name="daedalus",
    help="Records exchanges' market data into Parquet: every update, and the features computed from it.",
    epilog="Examples: daedalus up --demo | daedalus up --config config/daedalus.yaml | daedalus config check FILE. "
    "`daedalus COMMAND --help` tells more.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(epilog=EPILOG)(up)
app.command(epilog=AUDIT_EPILOG)(audit)
app.command(epilog=GAPS_EPILOG)(gaps)
app.command(epilog=DOCTOR_EPILOG)(doctor)
app.command(epilog=LEASES_EPILOG)(leases)
app.add_typer(config_app, name="config")
app.add_typer(dlq_app, name="dlq")
app.add_typer(etl_app, name="etl")
app.add_typer(features_app, name="features")
app.add_typer(streams_app, name="streams")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"daedalus {version('daedalus')}")
        raise typer.Exit


@app.callback()
def main(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options of the command itself."""
    # A container's first process gets no signal without a handler, and would be killed after 10 s. Elsewhere the system
    # ends us; `up` and `etl` have their own handlers.
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


if __name__ == "__main__":
    app()
