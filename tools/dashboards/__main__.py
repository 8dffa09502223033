"""Writes Grafana's dashboards: a JSON file for each, and one of the runbook.

    python -m tools.dashboards deploy/grafana/dashboards
    python -m tools.dashboards --check deploy/grafana/dashboards

Exit codes: 0 written or up to date, 1 out of date (--check), 2 a panel names a section that the runbook does not have.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.dashboards.compaction import COMPACTION
from tools.dashboards.featurizer import FEATURIZER
from tools.dashboards.host import HOST
from tools.dashboards.ingest import INGEST
from tools.dashboards.overview import OVERVIEW
from tools.dashboards.runbook import runbook_board
from tools.dashboards.store import STORE
from tools.dashboards.streams import STREAMS

BOARDS = (OVERVIEW, INGEST, STREAMS, STORE, FEATURIZER, COMPACTION, HOST)
TEXT = Path(__file__).resolve().parents[2] / "docs" / "runbook.md"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.dashboards", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the files lie, deploy/grafana/dashboards")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when a file is out of date")
    parser.add_argument("--runbook", type=Path, default=TEXT, help="the runbook (default: docs/runbook.md)")
    args = parser.parse_args(argv)
    if not args.runbook.is_file():
        print(f"there is no {args.runbook}: panels link to its sections", file=sys.stderr)
        return 2
    runbook, sections = runbook_board(args.runbook.read_text(encoding="utf-8"))
    unknown = _unknown_sections(sections)
    if unknown:
        lines = "\n  ".join(unknown)
        print(f"{args.runbook} has no such section (## …), which a panel links to:\n  {lines}", file=sys.stderr)
        return 2
    files = {args.folder / f"{board.name}.json": board.json(sections) for board in (*BOARDS, runbook)}
    return _check(args.folder, files) if args.check else _write(args.folder, files)


def _unknown_sections(sections: Mapping[str, int]) -> list[str]:
    return [
        f"{panel.runbook} ({board.title} / {panel.title})"
        for board in BOARDS
        for panel in board.panels
        if panel.runbook and panel.runbook not in sections
    ]


def _write(folder: Path, files: dict[Path, str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for file in _strangers(folder, files):
        file.unlink()
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
        print(f"{file}: {len(text.splitlines())} lines")
    return 0


def _check(folder: Path, files: dict[Path, str]) -> int:
    stale = [file for file, text in files.items() if not file.is_file() or file.read_text(encoding="utf-8") != text]
    for file in (*stale, *_strangers(folder, files)):
        print(f"{file} is out of date: run python -m tools.dashboards {folder}", file=sys.stderr)
    return 1 if stale or _strangers(folder, files) else 0


def _strangers(folder: Path, files: dict[Path, str]) -> list[Path]:
    """Dashboards that are no longer made."""
    return sorted(set(folder.glob("*.json")) - files.keys())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
