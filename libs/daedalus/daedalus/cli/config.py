"""`daedalus config`: check a configuration file, show what is in effect."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from daedalus_common.config import Config, ConfigError, config_to_yaml, load_config

EXIT_CONFIGURATION = 2

app = typer.Typer(
    help="Check and show the configuration.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)

_JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command(
    epilog="Examples: daedalus config check config/daedalus.yaml | daedalus config check FILE --json. "
    "Exit code: 0 usable, 2 not."
)
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file to check.")],
    as_json: _JSON = False,
) -> None:
    """Check FILE, with the DAEDALUS__ variables of the environment, and list every problem at once."""
    config = _load(file, as_json)
    if as_json:
        typer.echo(json.dumps({"ok": True, "problems": [], "file": str(file), "markets": len(config.markets())}))
    else:
        typer.echo(f"{file}: ok, {len(config.markets())} markets on {len(config.ccxt.exchanges)} exchanges")


@app.command(
    epilog="Examples: daedalus config show | daedalus config show config/daedalus.yaml | "
    "DAEDALUS__REDIS__URL=redis://cache:6379/0 daedalus config show FILE. Exit code: 0 shown, 2 not usable."
)
def show(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Without FILE: the defaults.")] = None,
) -> None:
    """Show every key with the value in effect: FILE, the DAEDALUS__ variables, the defaults. Secrets are masked."""
    typer.echo(config_to_yaml(_load(file, as_json=False)), nl=False)


def _load(file: Path | None, as_json: bool) -> Config:
    try:
        return load_config(file, os.environ)
    except ConfigError as error:
        # The list of problems is the answer to --json, hence on stdout.
        typer.echo(error.to_json() if as_json else str(error), err=not as_json)
        raise typer.Exit(EXIT_CONFIGURATION) from None
