"""`daedalus doctor`: is this host fit to record on, and if not, what is to be done?"""

import os
from pathlib import Path
from typing import Annotated

import typer

from daedalus_common.config import ConfigError, load_config

EXIT_ERROR_FOUND = 1
EXIT_CONFIGURATION = 2

EPILOG = """\
Examples: daedalus doctor --config config/daedalus.yaml | sudo -u daedalus /opt/daedalus/.venv/bin/daedalus doctor
--config /etc/daedalus/daedalus.yaml | daedalus doctor --json.
Exit codes: 0 nothing worse than warnings, 1 an error was found, 2 wrong configuration or usage."""


def doctor(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The YAML configuration: its directories, server and stores. "
            "[default: the defaults, below the current directory]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Look at this host before recording on it: processor, memory, disks, clock, server, stores; each with its fix.

    Nothing stays changed: a small object is created in each store and removed; packages are loaded in another process.
    """
    from daedalus.cli.asking import show, show_json
    from daedalus.doctor.examination import examine
    from daedalus.doctor.findings import Level, worst
    from daedalus.doctor.kernel import ask_kernel
    from daedalus.doctor.page import examination_json, findings_page

    try:
        settings = load_config(config, os.environ)
    except ConfigError as problem:
        typer.echo(problem.to_json() if as_json else str(problem), err=not as_json)
        raise typer.Exit(EXIT_CONFIGURATION) from None
    if not as_json:
        typer.echo("looking at the host, its packages, the server and the stores …", err=True)
    found = examine(settings, ask_kernel(), Path("/"), Path.cwd())
    if as_json:
        show_json(examination_json(found))
    else:
        show(findings_page(found.findings))
    if worst(found.findings) is Level.ERROR:
        raise typer.Exit(EXIT_ERROR_FOUND)
