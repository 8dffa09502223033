"""Tries what the images install on an emulated Raspberry Pi: a Cortex-A72, on pages of 4 KiB (Pi 4) and 16 KiB (Pi 5).

    python -m tools.check_arm64                              every image, both page sizes
    python -m tools.check_arm64 --image featurizer writer --check features parquet --page 16384
    python -m tools.check_arm64 --image compactor
    python -m tools.check_arm64 --json > arm64.json

Every wheel of deploy/requirements/*.lock is installed for aarch64, by its hash; every module of it that is machine
code is imported, and all of ours. Then a featurizer's steps, the writer's Parquet and the compactor's merging of it,
compared with the same computed here; publishing on uvloop to a Valkey server of this machine; objects in SeaweedFS; a
client of an exchange; the embedded Valkey server itself. Needs qemu-aarch64 (Debian: qemu-user) and Debian's apt-get,
not root.

Exit codes: 0 all went well, 1 something did not, 2 it cannot be tried here (the reason is shown).
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))  # its support package starts the servers

from tools.check_arm64.checks import IMAGES, Checks, Image, Result
from tools.check_arm64.machine import CPU, Base, CannotRun, prepared
from tools.check_arm64.sites import ROOT, NotInstallable, installed

PAGES_BYTES = (4096, 16384)
LIMITS = (
    "The processor's instructions and the page size are emulated; its speed is not: the seconds say nothing of a Pi.",
    "Memory is ordered as strictly as on x86-64: a race that only a weakly ordered processor shows is not seen here.",
    "The kernel is this machine's, and so is /proc: what a program reads there of the processor is not the Pi's.",
)


def main(argv: list[str]) -> int:
    arguments = parsed(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="arm64-") as scratch, ExitStack() as servers:
            results = list(tried(arguments, Path(scratch), servers))
    except CannotRun as error:
        print(f"check_arm64: {error}", file=sys.stderr)
        return 2
    failed = [result for result in results if result.fault]
    if arguments.json:
        print(json.dumps({"cpu": CPU, "results": [asdict(result) for result in results], "limits": LIMITS}, indent=2))
    else:
        print(f"\n{len(results) - len(failed)} of {len(results)} went well. What this cannot show:")
        print("\n".join(f"- {limit}" for limit in LIMITS))
    return 1 if failed else 0


def parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_arm64", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [image.name for image in IMAGES]
    checks = ["imports", *(check for image in IMAGES for check in image.checks)]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--image", nargs="+", choices=names, default=names, help="these images only")
    parser.add_argument("--check", nargs="+", choices=checks, default=checks, help="these checks only")
    parser.add_argument("--page", nargs="+", type=int, choices=PAGES_BYTES, default=PAGES_BYTES, help="in bytes")
    parser.add_argument("--exchange", default="binanceus", help="ccxt's id of the exchange to load (binanceus)")
    parser.add_argument(
        "--folder", type=Path, default=cache / "daedalus-arm64", help="keeps the emulated files (%(default)s)"
    )
    parser.add_argument("--mirror", help="URL of a Debian mirror; by default that of this machine's apt")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for one check (600)")
    parser.add_argument("--json", action="store_true", help="the results as JSON, progress on standard error")
    return parser.parse_args(argv)


def tried(arguments: argparse.Namespace, scratch: Path, servers: ExitStack) -> Iterator[Result]:
    """The results as they come; each is shown at once."""
    out = sys.stderr if arguments.json else sys.stdout
    base = Base.of(ROOT / "deploy" / "Dockerfile")
    machine = prepared(arguments.folder, base, arguments.mirror)
    for page in arguments.page:
        machine.confirm(page)
    checks = Checks(machine, scratch, arguments.exchange, arguments.limit, servers)
    wanted = frozenset(arguments.check)
    for image in IMAGES:
        if image.name in arguments.image and wanted & {"imports", *image.checks}:
            for result in of_image(image, arguments, base, machine.bytecode, checks, wanted):
                print(line(result), file=out, flush=True)
                yield result


def of_image(
    image: Image, arguments: argparse.Namespace, base: Base, bytecode: Path, checks: Checks, wanted: frozenset[str]
) -> Iterator[Result]:
    begin = time.monotonic()
    try:
        site = installed(image.name, arguments.folder / "site", bytecode, base.python)
    except NotInstallable as error:
        yield Result(image.name, 0, "install", round(time.monotonic() - begin, 1), str(error), "")
        return
    for page in arguments.page:
        for _, check in checks.of(image, site, wanted):
            yield check(page)


def line(result: Result) -> str:
    page = f"{result.page_bytes // 1024:2} KiB" if result.page_bytes else "      "
    said = f"FAILED: {result.fault} {result.detail}" if result.fault else result.detail
    return f"{page}  {result.image:<12}{result.check:<10}{result.seconds:6.1f} s  {said}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
