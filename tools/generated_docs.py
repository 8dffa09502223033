"""Writes the pages that the code knows better than anybody: docs/metrics.md and docs/features.md.

    python tools/generated_docs.py docs
    python tools/generated_docs.py --check docs

Exit codes: 0 written or up to date, 1 out of date (--check).
"""

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from daedalus_common.telemetry.metrics import declared, inventory_markdown
from daedalus_features import FeatureConfig, catalogue_markdown

PACKAGES = ("common", "ingestor", "writer", "featurizer", "compactor", "simulator")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pages lie, docs")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when a page is out of date")
    args = parser.parse_args(argv)
    import_declarations()
    pages = {
        args.folder / "metrics.md": inventory_markdown(declared()),
        args.folder / "features.md": catalogue_markdown(FeatureConfig()),
    }
    if args.check:
        return _check(pages)
    args.folder.mkdir(parents=True, exist_ok=True)
    for file, text in pages.items():
        file.write_text(text, encoding="utf-8")
        print(f"{file}: {len(text.splitlines())} lines")
    return 0


def import_declarations() -> None:
    """Imports the `metrics` module of every package; one that measures nothing has none."""
    for package in PACKAGES:
        module = f"daedalus_{package}.metrics"
        if find_spec(module) is not None:
            import_module(module)


def _check(pages: dict[Path, str]) -> int:
    stale = [file for file, text in pages.items() if not file.is_file() or file.read_text(encoding="utf-8") != text]
    for file in stale:
        print(f"{file} is out of date: run python tools/generated_docs.py {file.parent}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
