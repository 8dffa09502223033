"""Runs as JSON: written by one command, put together with others' by another."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faults.catalogue import cells
from faults.cells import Cell, Window, nothing
from faults.evidence import Violation
from faults.matrix import Line, as_json
from faults.run import Outcome
from support.checkout import ROOT

GIT_SECONDS = 30.0


class ResultsError(Exception):
    """Results that do not belong together, or are none; the text says which file."""


def commit() -> str:
    """The commit that is tried, with `+` where files differ from it; `unknown` outside a checkout."""
    head = _git("rev-parse", "--short", "HEAD")
    return "unknown" if not head else head + ("+" if _git("status", "--porcelain") else "")


def save(path: Path, lines: Sequence[Line], outcomes: Sequence[Outcome], tried: str) -> None:
    """The matrix for whoever reads it, and every run for `load`."""
    content = {"commit": tried, **as_json(lines, outcomes), "outcomes": [_told(outcome) for outcome in outcomes]}
    path.write_text(json.dumps(content, indent=1) + "\n")


def load(paths: Sequence[Path]) -> tuple[list[Outcome], str]:
    """The runs of several files, and their commit. Raises ResultsError: of one commit, and each seed once."""
    outcomes: dict[int, Outcome] = {}
    tried: dict[str, Path] = {}
    for path in paths:
        try:
            content = json.loads(path.read_bytes())
            read = [_outcome(told) for told in content["outcomes"]]
            tried.setdefault(content["commit"], path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"{path} holds no results of runs: {error!r}") from error
        for outcome in read:
            if outcome.seed in outcomes:
                raise ResultsError(f"seed {outcome.seed} of {path} is in another file too")
            outcomes[outcome.seed] = outcome
    if len(tried) > 1:
        raise ResultsError("the runs are of different commits: " + ", ".join(f"{c} ({p})" for c, p in tried.items()))
    return [outcomes[seed] for seed in sorted(outcomes)], next(iter(tried), "unknown")


def _told(outcome: Outcome) -> dict[str, Any]:
    windows = []
    for window in outcome.windows:
        told = {name: getattr(window, name) for name in Window.__slots__ if name != "cell"}
        windows.append({"component": window.cell.component, "fault": window.cell.fault, **told})
    plain = {name: getattr(outcome, name) for name in Outcome.__slots__ if name not in ("windows", "violations")}
    return {**plain, "windows": windows, "violations": [asdict(violation) for violation in outcome.violations]}


def _outcome(told: dict[str, Any]) -> Outcome:
    windows = tuple(_window(window) for window in told["windows"])
    violations = tuple(Violation(**violation) for violation in told["violations"])
    return Outcome(**{**told, "windows": windows, "violations": violations})


def _window(told: dict[str, Any]) -> Window:
    rest = dict(told)
    component, fault = rest.pop("component"), rest.pop("fault")
    known = next((cell for cell in cells() if (cell.component, cell.fault) == (component, fault)), None)
    zombie = rest.pop("zombie")
    return Window(
        cell=known or Cell(component, fault, nothing), zombie=None if zombie is None else tuple(zombie), **rest
    )


def _git(*arguments: str) -> str:
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
