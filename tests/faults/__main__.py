"""Breaks a running pipeline on purpose, seed by seed, and judges what it recorded."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from faults.catalogue import cells, short
from faults.cells import Cell
from faults.matrix import FAIL, VACUOUS, Line, as_markdown, as_text, matrix
from faults.oracle import PROMISES
from faults.results import ResultsError, commit, load, save
from faults.run import Outcome, run_seed
from faults.soak import growth_table, soak
from faults.tools.disk import enter_private_namespace

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"

EPILOG = """examples:
  python -m faults --seeds 20                      the whole matrix, seeds 1 to 20
  python -m faults --seed 7                        one seed again, in the same order at the same times
  python -m faults --seed 1-5,9 --json a.json      some seeds, kept for --merge
  python -m faults --merge a.json b.json --write-docs
                                                   the matrix of several commands' seeds, all at one commit
  python -m faults --seed 7 --only redis           only the cells of one component
  python -m faults --only "writer:kill -9"         only one cell
  python -m faults --soak 30                       half an hour of random faults
  python -m faults --list                          what there is

The exit code is 0 when every cell is ok, 1 when a promise was broken or a cell was vacuous, 2 for wrong usage.
"""


def main(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    # So that every process and mount of a run goes with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    skipped = choose(cells(), args.skip) if args.skip else []
    every = short() if args.short else cells()
    chosen = [cell for cell in choose(every, args.only) if cell not in skipped]
    if args.list:
        print("\n".join(cell.name for cell in chosen))
        return 0
    if not chosen:
        print(f"no cell is named {args.only!r}; --list shows all", file=sys.stderr)
        return 2
    if args.merge:
        try:
            outcomes, tried = load(args.merge)
        except ResultsError as error:
            print(error, file=sys.stderr)
            return 2
        return _tell(chosen, outcomes, tried, args)
    reason = enter_private_namespace()
    if reason is not None:
        print(f"disks cannot be made to fail here: {reason}", file=sys.stderr)
    if args.soak is not None:
        return _soak(args.seed[0] if args.seed else 1, chosen, args)
    tried = commit()
    outcomes = []
    for seed in args.seed or range(1, args.seeds + 1):
        outcomes.append(_one(seed, chosen, args))
        if args.json is not None:  # what is done so far, should the rest come to no end
            save(args.json, matrix(chosen, outcomes), outcomes, tried)
    return _tell(chosen, outcomes, tried, args)


def _tell(chosen: Sequence[Cell], outcomes: Sequence[Outcome], tried: str, args: argparse.Namespace) -> int:
    lines = matrix(chosen, outcomes)
    report(lines, outcomes)
    if args.json is not None:
        save(args.json, lines, outcomes, tried)
    if args.write_docs:
        write_document(DOCUMENT, lines, outcomes, tried)
    return 0 if passed(lines, outcomes) else 1


def choose(every: Sequence[Cell], only: str | None) -> list[Cell]:
    """The cells of a component (`redis`) or one cell (`redis:latency`); several are separated by commas."""
    wanted = [name.strip() for name in only.split(",")] if only else None
    return [cell for cell in every if wanted is None or cell.component in wanted or cell.name in wanted]


def seeds(text: str) -> list[int]:
    """`1-3,7` -> 1, 2, 3, 7. Raises ValueError."""
    parts = [part.partition("-") for part in text.split(",")]
    return [seed for first, _, last in parts for seed in range(int(first), int(last or first) + 1)]


def passed(lines: Sequence[Line], outcomes: Sequence[Outcome]) -> bool:
    return not any(line.result in (FAIL, VACUOUS) for line in lines) and not any(o.error for o in outcomes)


def report(lines: Sequence[Line], outcomes: Sequence[Outcome]) -> None:
    print()
    print(as_text(lines))
    print()
    for name, text in PROMISES.items():
        print(f"{name}  {text}")
    for line in lines:
        for failure in line.failures[:10]:
            print(f"{line.component}:{line.fault}: {failure}")
        for reason in sorted(line.missing):
            print(f"{line.component}:{line.fault}: not applicable in some runs: {reason}")
    for outcome in outcomes:
        for violation in outcome.violations:
            if violation.at_ns is None:
                print(f"seed {outcome.seed}: {violation.invariant}: {violation.text}")
        if outcome.error is not None:
            print(f"seed {outcome.seed} came to no end:\n{outcome.error}")
    seconds = sum(outcome.seconds for outcome in outcomes)
    print(f"{len(outcomes)} seeds in {seconds:.0f} s: {'passed' if passed(lines, outcomes) else 'FAILED'}")


def write_document(path: Path, lines: Sequence[Line], outcomes: Sequence[Outcome], tried: str) -> None:
    """Replaces what stands between the two marks."""
    text = path.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    stores = ", ".join(f"{sum(o.store == kind for o in outcomes)} on {kind}" for kind in ("s3", "disk"))
    said = f"{len(outcomes)} seeds ({stores}) at {tried}, {time.strftime('%Y-%m-%d', time.gmtime())}:"
    path.write_text(f"{head}{BEGIN}\n{said}\n\n{as_markdown(lines)}\n{END}{tail}")


def _one(seed: int, chosen: Sequence[Cell], args: argparse.Namespace) -> Outcome:
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{seed}-", dir=args.folder))
    say = _sayer(f"seed {seed:3}")
    say(f"{len(chosen)} cells, data in {folder}")
    outcome = run_seed(seed, chosen, folder, say)
    wrong = outcome.error is not None or bool(outcome.violations)
    say(f"{outcome.store}: {'WRONG' if wrong else 'all promises kept'}")
    for violation in outcome.violations[:20]:
        say(f"{violation.invariant}: {violation.text}")
    if not args.keep and not wrong:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _soak(seed: int, chosen: Sequence[Cell], args: argparse.Namespace) -> int:
    folder = Path(tempfile.mkdtemp(prefix=f"soak-{seed}-", dir=args.folder))
    outcome, growth = soak(seed, args.soak, chosen, folder, _sayer("soak"))
    lines = matrix([cell for cell in chosen if any(w.cell == cell for w in outcome.windows)], [outcome])
    report(lines, [outcome])
    print(growth_table(growth))
    if args.json is not None:
        save(args.json, lines, [outcome], commit())
    good = passed(lines, [outcome])
    if good and not args.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


def _sayer(name: str) -> Callable[[str], None]:
    began = time.monotonic()
    return lambda text: print(f"{name} {time.monotonic() - began:6.1f} s  {text}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m faults",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seeds", type=int, default=20, metavar="N", help="run the seeds 1 to N (default %(default)s)")
    add("--seed", type=seeds, metavar="N[-M][,...]", help="run only these seeds, such as 7 or 1-5,9")
    add("--only", metavar="COMPONENT[:FAULT]", help="only these cells, separated by commas")
    add("--skip", metavar="COMPONENT[:FAULT]", help="all but these cells")
    add(
        "--soak", type=float, metavar="MINUTES", help="random faults for so long instead, and look whether memory grows"
    )
    add("--short", action="store_true", help="a fault of each component, in about a minute")
    add("--list", action="store_true", help="print the cells and end")
    add("--json", type=Path, metavar="FILE", help="write the matrix and every run to this file too")
    add("--merge", type=Path, nargs="+", metavar="FILE", help="run nothing, put the runs of these files together")
    add("--write-docs", action="store_true", help="write the matrix into docs/reliability.md")
    add("--keep", action="store_true", help="keep the data of runs that passed (of others it is always kept)")
    add(
        "--folder", type=Path, metavar="DIR", help="where runs keep their data (default: the system's temporary folder)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
