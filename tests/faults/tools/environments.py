"""Additions to the environment of a process, from several tools."""

import os
from collections.abc import Mapping

SEARCH_PATHS = frozenset({"PYTHONPATH", "LD_PRELOAD"})


def joined(*environments: Mapping[str, str]) -> dict[str, str]:
    """All of them; where two have a search path, both parts of it, the first one's first. A later value wins else."""
    whole: dict[str, str] = {}
    for environment in environments:
        for name, value in environment.items():
            whole[name] = _both(whole[name], value) if name in SEARCH_PATHS and name in whole else value
    return whole


def _both(first: str, second: str) -> str:
    parts = [*first.split(os.pathsep), *second.split(os.pathsep)]
    return os.pathsep.join(dict.fromkeys(parts))
