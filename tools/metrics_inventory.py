"""Writes docs/metrics.md from the metrics that the services declare, or checks that it is up to date.

    python tools/metrics_inventory.py docs/metrics.md
    python tools/metrics_inventory.py --check docs/metrics.md

Exit codes: 0 written or up to date, 1 out of date (--check).
"""

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from daedalus_common.telemetry.metrics import declared, inventory_markdown

SERVICES = ("ingestor", "writer", "featurizer", "compactor", "simulator")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the Markdown file, docs/metrics.md")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when the file is out of date")
    args = parser.parse_args(argv)
    import_declarations()
    text = inventory_markdown(declared())
    if args.check:
        return _check(args.file, text)
    args.file.parent.mkdir(parents=True, exist_ok=True)
    args.file.write_text(text, encoding="utf-8")
    print(f"{args.file}: {len(declared())} metrics")
    return 0


def import_declarations() -> None:
    """Imports the `metrics` module of every service; a service that measures nothing has none."""
    for service in SERVICES:
        module = f"daedalus_{service}.metrics"
        if find_spec(module) is not None:
            import_module(module)


def _check(file: Path, text: str) -> int:
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return 0
    print(f"{file} is out of date: run python tools/metrics_inventory.py {file}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
