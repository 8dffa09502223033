"""Secrets that stand in files of their own, as container platforms mount them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daedalus_common.config.documents import KeyPath
from daedalus_common.config.errors import Problem
from daedalus_common.config.explanations import dotted

_S3_ROLES = ("ingestion_storage", "etl_storage_input", "etl_storage_output")
_PLACES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("redis",), "password"),
    *((("storage", role, "s3"), key) for role in _S3_ROLES for key in ("access_key", "secret_key")),
)


def read_secret_files(values: dict[str, Any]) -> list[tuple[KeyPath, Problem]]:
    """Puts the content of every `<secret>_file` into `values` under `<secret>`; tells which files cannot be used.

    White space at either end of the content is no part of the secret.
    """
    return [problem for path, key in _PLACES for problem in _read(values, path, key)]


def _read(values: dict[str, Any], path: tuple[str, ...], key: str) -> Iterator[tuple[KeyPath, Problem]]:
    section: Any = values
    for name in path:
        section = section.get(name) if isinstance(section, dict) else None
    file_key = f"{key}_file"
    file = section.get(file_key) if isinstance(section, dict) else None
    if not isinstance(file, str) or not file:
        return
    where = (*path, file_key)
    if section.get(key):
        yield where, Problem("given twice", dotted(where), found=f"{key} and {file_key}", allowed="one of the two")
        return
    try:
        secret = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        yield where, Problem(f"the file cannot be read: {reason}", dotted(where), found=repr(file))
        return
    if secret:
        section[key] = secret
    else:
        yield where, Problem("the file is empty", dotted(where), found=repr(file))
