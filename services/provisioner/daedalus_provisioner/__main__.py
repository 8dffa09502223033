"""The composition root: settings in, a prepared object store out."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence

from minio.error import S3Error
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from daedalus_provisioner.bucket import LifecycleRefused, prepare_bucket
from daedalus_provisioner.keys import KeysRefused, client_of, make_keys
from daedalus_provisioner.rights import ROLES
from daedalus_provisioner.settings import KeyMode, Settings, parse_arguments, read_key

_CANNOT = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """0 prepared, 1 it cannot be."""
    _end_on_sigterm()
    settings = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        for line in _prepare(settings):
            print(line, flush=True)
    except (S3Error, HTTPError, OSError, ValueError, KeysRefused, LifecycleRefused) as error:
        print(f"daedalus provisioner: {settings.url}: {error}", file=sys.stderr)
        return _CANNOT
    print(f"{settings.url}: prepared")
    return 0


def _end_on_sigterm() -> None:
    """As a container's first process: it gets no signal without a handler, and would be killed after 10 s."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def _prepare(settings: Settings) -> Iterator[str]:
    # The container platform says when the server is up; this is for one that is up and not quite ready.
    http = PoolManager(timeout=Timeout(connect=5, read=30), retries=Retry(total=5, backoff_factor=0.5))
    root = read_key(settings.secrets, "root_user", "root_password")
    yield from prepare_bucket(
        client_of(settings, root, http), settings.bucket, settings.region, settings.expire_bronze_days
    )
    if settings.keys is KeyMode.SHARED:
        yield "keys: none made; every service uses the administrator's key (OBJECT_STORE_KEYS=shared)"
        return
    keys = {role: read_key(settings.secrets, f"{role}_access_key", f"{role}_secret_key") for role in ROLES}
    yield from make_keys(settings, root, keys, http)


if __name__ == "__main__":
    sys.exit(main())
