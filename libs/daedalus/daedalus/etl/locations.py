"""What `--input` and `--output` name: a folder or bucket, or NDJSON files."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from daedalus.etl.ndjson_files import SUFFIXES, holds_files, input_files
from daedalus.etl.problems import UsageError
from daedalus_common.config import Config
from daedalus_common.config.sections.storage import StoreSettings as StoreSection
from daedalus_common.stores import StoreSettings, store_settings

INPUT_ROLE = "storage.etl_storage_input"
OUTPUT_ROLE = "storage.etl_storage_output"

_S3 = "s3://"


@dataclass(frozen=True, slots=True)
class Input:
    """Bronze in a store, or NDJSON files; one of them is there."""

    store: StoreSettings | None = None
    files: tuple[Path, ...] = ()

    @property
    def text(self) -> str:
        """Where it is, for people and for telling jobs apart; no secret."""
        return ", ".join(map(str, self.files)) if self.store is None else location(self.store)


def input_of(texts: tuple[str, ...], config: Config) -> Input:
    """Of `--input`, given any number of times; the configuration's without any. Raises UsageError."""
    section = config.storage.etl_storage_input
    if not texts:
        return Input(store_settings(INPUT_ROLE, section))
    if len(texts) == 1 and not _names_lines(texts[0]):
        settings = store_of_text(texts[0], INPUT_ROLE, section)
        if settings.backend == "local":
            _check_folder(settings.base_dir)
        return Input(settings)
    for text in texts:
        if text.startswith(_S3):
            raise UsageError(f"--input {text}: NDJSON files are read from disk only, and Bronze from one place")
        if _holds_bronze(Path(text)):
            raise UsageError(f"--input {text} holds Bronze: give it alone, and NDJSON files in a run of their own")
    files = tuple(Path(text).absolute() for text in texts)
    input_files(files)
    return Input(files=files)


def output_of(text: str | None, config: Config) -> StoreSettings:
    """Of `--output`; the configuration's without it. Synced always: checkpoints say what is there to stay."""
    section = config.storage.etl_storage_output
    if text is None:
        return store_settings(OUTPUT_ROLE, section)
    return store_of_text(text, OUTPUT_ROLE, section)


def store_of_text(text: str, role: str, section: StoreSection) -> StoreSettings:
    """A path, or `s3://bucket/prefix` with endpoint and keys of the configuration's section where it has some."""
    if not text.startswith(_S3):
        return StoreSettings(base_dir=Path(text).expanduser().absolute(), role=role)
    bucket, _, prefix = text.removeprefix(_S3).partition("/")
    if not bucket:
        raise UsageError(f"{text}: the name of the bucket is missing; write s3://BUCKET/PREFIX")
    base = StoreSettings("s3", role=role)
    if section.s3 is not None:
        base = store_settings(role, section.model_copy(update={"backend": "s3"}))
    return dataclasses.replace(base, bucket=bucket, prefix=prefix.strip("/"))


def location(settings: StoreSettings) -> str:
    """Where a store is, without opening it."""
    if settings.backend == "local":
        return str(settings.base_dir.absolute())
    at = f" at {settings.endpoint_url}" if settings.endpoint_url else ""
    return f"{_S3}{settings.bucket}/{settings.prefix}".rstrip("/") + at


def _names_lines(text: str) -> bool:
    """A file of lines, or a folder with such files and no Bronze."""
    if text.startswith(_S3):
        return False
    path = Path(text)
    if path.is_dir():
        return not _holds_bronze(path) and holds_files(path)
    return path.is_file() or path.name.endswith(SUFFIXES)


def _holds_bronze(folder: Path) -> bool:
    return (folder / "bronze").is_dir()


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"--input {folder}: there is no such file or folder")
    if not _holds_bronze(folder) and "bronze" in folder.parts:
        parts = folder.parts
        root = Path(*parts[: parts.index("bronze")])
        raise UsageError(f"--input {folder} lies within Bronze: give the folder that holds it, {root}")
