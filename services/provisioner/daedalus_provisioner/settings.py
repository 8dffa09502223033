"""The command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

_EPILOG = """\
examples:
  python -m daedalus_provisioner --endpoint http://object-store:9000 --bucket daedalus --secrets /run/secrets
      the bucket, and a key for each service, on MinIO
  python -m daedalus_provisioner --endpoint http://object-store:9000 --bucket daedalus --secrets /run/secrets \\
      --keys shared --expire-bronze-days 90
      all services use the key of the administrator; raw events are deleted after 90 days

files in the folder of secrets: root_user and root_password, the administrator's key; per service
(writer, compactor, reader) NAME_access_key and NAME_secret_key.

exit codes: 0 prepared, 1 it cannot be, 2 wrong usage
"""


class KeyMode(StrEnum):
    """Whose key the services use."""

    PER_SERVICE = "per-service"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class Key:
    """What a client shows who it is with."""

    access: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the composition root needs. `expire_bronze_days` = 0 keeps all."""

    host: str
    secure: bool
    bucket: str
    region: str
    keys: KeyMode
    expire_bronze_days: int
    secrets: Path

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.host}"


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """Exits with status 2 and a clear line for a wrong argument, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="python -m daedalus_provisioner",
        description="Prepares an object store: the bucket, its lifecycle, and a key with the least rights per service. "
        "Running it again changes nothing that is already so.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--endpoint", required=True, metavar="URL", help="the server, http://HOST:PORT")
    add("--bucket", required=True, metavar="NAME", help="the bucket, made where it is missing")
    add("--region", default="us-east-1", metavar="NAME", help="of the bucket (default %(default)s)")
    add("--secrets", type=Path, required=True, metavar="DIR", help="the folder of the keys, one a file")
    add(
        "--keys",
        type=KeyMode,
        choices=list(KeyMode),
        default=KeyMode.PER_SERVICE,
        help="shared: all services use the administrator's key (default: a key for each)",
    )
    add(
        "--expire-bronze-days",
        type=_days,
        default=0,
        metavar="N",
        help="the server deletes raw events N days after they were written (default: never)",
    )
    args = parser.parse_args(arguments)
    endpoint = urlsplit(args.endpoint)
    if endpoint.scheme not in ("http", "https") or not endpoint.netloc or endpoint.path not in ("", "/"):
        parser.error(f"--endpoint {args.endpoint}: expected http://HOST:PORT or https://HOST:PORT")
    return Settings(
        endpoint.netloc,
        endpoint.scheme == "https",
        args.bucket,
        args.region,
        args.keys,
        args.expire_bronze_days,
        args.secrets,
    )


def read_key(secrets: Path, access_file: str, secret_file: str) -> Key:
    """The key in two files of the folder. Raises OSError, and ValueError for an empty file."""
    return Key(_read(secrets / access_file), _read(secrets / secret_file))


def _read(file: Path) -> str:
    text = file.read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError(f"{file} is empty")
    return text


def _days(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days")
    return int(text)
