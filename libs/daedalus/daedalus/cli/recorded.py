"""What `daedalus gaps` and `daedalus audit` share: which recording, which markets, which days, and progress."""

import dataclasses
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daedalus.cli.asking import EXIT_USAGE, end
from daedalus.duration import EXPECTED, parse_duration
from daedalus_common.config import Config, ConfigError, load_config

if TYPE_CHECKING:
    from daedalus.quality.audit import Stores
    from daedalus_common.markets import Market

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The YAML configuration: its stores and server.")
]
DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The data directory of `daedalus up`, or any folder with bronze/.")
]
MarketName = Annotated[
    str | None, typer.Option("--market", metavar="MARKET", help="Only this one: binanceus:BTC-USDT.")
]

_LINE_SECONDS = 5.0
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording; `config` is that of its pipeline, where it is known."""

    stores: "Stores"
    config: Config | None
    place: str


def recorded(command: str, file: Path | None, data_dir: Path | None) -> Recorded:
    """Opens the stores that the options name; ends the command where they are of no use."""
    from daedalus.embedded.layout import Layout
    from daedalus.quality.audit import Stores
    from daedalus_common.stores import LocalDisk, StoreError, open_store, store_settings

    if file is not None and data_dir is not None:
        end(command, "give either --config or --data-dir", EXIT_USAGE)
    if data_dir is not None:
        if not (data_dir / "bronze").is_dir():
            end(
                command,
                f"--data-dir {data_dir}: there is no folder bronze in it; name the one that holds it",
                EXIT_USAGE,
            )
        disk = LocalDisk(data_dir.absolute())
        effective = Layout(data_dir.absolute()).config
        return Recorded(Stores(disk, disk), _config(effective) if effective.is_file() else None, disk.describe())
    config = _config(file)
    storage = config.storage
    bronze_settings = store_settings("storage.ingestion_storage", storage.ingestion_storage)
    feature_settings = store_settings("storage.etl_storage_output", storage.etl_storage_output)
    try:
        bronze = open_store(bronze_settings)
        same = dataclasses.replace(feature_settings, role=bronze_settings.role) == bronze_settings
        return Recorded(Stores(bronze, bronze if same else open_store(feature_settings)), config, bronze.describe())
    except StoreError as error:
        end(command, str(error), EXIT_USAGE)


def markets_in(found: Recorded, name: str | None) -> "tuple[Market, ...]":
    """The markets of the recording, or the one of that name. Raises UnknownMarket, StoreError."""
    from daedalus.etl.bronze_catalog import BronzeCatalog
    from daedalus.operations.server import chosen

    return chosen(BronzeCatalog(found.stores.bronze).markets(), name)


def moment(command: str, option: str, text: str | None, now: datetime, *, last: bool = False) -> datetime | None:
    """`2026-02-03`, `2026-02-03T14:30` (UTC unless it says otherwise), or `2h` (ago); `last`: a day means its end."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        return found + timedelta(days=1, microseconds=-1) if last and _DATE.match(text) else found
    except ValueError:
        pass
    try:
        return now - parse_duration(text)
    except (ValueError, OverflowError):
        end(command, f"{option} {text}: expected a day, a time such as 2026-02-03T14:30, or {EXPECTED}", EXIT_USAGE)


def day_of(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


@contextmanager
def progress(markets: Sequence[object]) -> Iterator[Callable[[str], None]]:
    """A line that moves on a terminal, else one every few seconds; on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if sys.stderr.isatty():
        bar = Progress(
            BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
        )
        with bar:
            names: list[str] = []
            task = bar.add_task("", total=max(1, len(markets)))

            def move(text: str) -> None:
                name = text.split(" ", 1)[0]
                if name not in names:
                    names.append(name)
                bar.update(task, description=text, completed=len(names) - 1)

            yield move
        return
    due = time.monotonic() + _LINE_SECONDS

    def line(text: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _LINE_SECONDS
            console.print(f"reading {text}", highlight=False, markup=False, soft_wrap=True)

    yield line


def _config(file: Path | None) -> Config:
    try:
        return load_config(file, os.environ)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_USAGE) from None
