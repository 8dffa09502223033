"""`daedalus up`: the whole pipeline on this machine, for a while or until stopped."""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from daedalus.duration import parse_duration
from daedalus.embedded.settings import Wishes, read_settings
from daedalus_common.config import ConfigError
from daedalus_common.stores import StoreError

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2

DEMO_DURATION = timedelta(seconds=60)

EPILOG = """\
Examples: daedalus up --demo | daedalus up --demo --duration 10s --json | daedalus up --config config/daedalus.yaml
--data-dir /srv/daedalus | daedalus up --config my.yaml --redis redis://cache:6379/0 --duration 8h.
Exit codes: 0 ended as asked (with --demo: and everything sent is stored or declared as a gap), 1 failed (with --demo:
or something is missing), 2 wrong configuration or usage, 130 killed by a second Ctrl-C."""


def up(
    demo: Annotated[
        bool, typer.Option("--demo", help="Record a simulated exchange, and reconcile at the end.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The YAML configuration. Required without --demo.")
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long to record: 60s, 5m, 1h30m [default: until stopped; --demo: 60s]."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where everything goes [default: the configuration's store, or ./data; --demo alone: ./data-demo].",
        ),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Use this server [default: redis.url if the configuration names another than the default one, "
            "else an embedded server].",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON, alone on stdout.")] = False,
    no_display: Annotated[bool, typer.Option("--no-display", help="A line now and then, no live display.")] = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the simulated markets.")] = 0,
) -> None:
    """Run the whole pipeline on this machine: an embedded server and every service, watched over and restarted.

    Ctrl-C stops cleanly: everything captured is stored first. A second Ctrl-C kills at once.
    """
    # Not at the top: what runs a session takes most of a second to import, which `daedalus config` need not wait for.
    from daedalus.cli.running import Manner, run_up
    from daedalus.embedded.layout import DataDirError
    from daedalus.embedded.run import SessionError
    from daedalus.embedded.valkey import NoServer

    manner = Manner(_duration(duration, demo), seed, as_json, display=not no_display and sys.stderr.isatty())
    try:
        settings = read_settings(Wishes(demo, config, data_dir, redis), os.environ)
        code = run_up(settings, manner, os.environ)
    except ConfigError as error:
        print(error.to_json() if as_json else error, file=sys.stdout if as_json else sys.stderr)
        code = EXIT_CONFIGURATION
    except (DataDirError, NoServer, SessionError, StoreError) as error:
        print(f"daedalus up: {error}", file=sys.stderr)
        code = EXIT_FAILED
    raise typer.Exit(code)


def _duration(text: str | None, demo: bool) -> timedelta | None:
    if text is None:
        return DEMO_DURATION if demo else None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}", param_hint="--duration") from None
