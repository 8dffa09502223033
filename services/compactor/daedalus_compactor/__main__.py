"""Say what the compactor is and that this release does not merge yet."""

import argparse
import sys
from collections.abc import Sequence

DESCRIPTION = "Merges the small files of closed partitions into few large, sorted ones."
STATUS = "Merging comes with a later release: in this one the compactor changes no file."


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 for `--help` (by argparse), 1 for a run, because a run has nothing to do."""
    parser = argparse.ArgumentParser(
        prog="python -m daedalus_compactor",
        description=f"{DESCRIPTION} {STATUS}",
    )
    parser.parse_args(arguments)
    print(f"daedalus_compactor: {STATUS}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
