"""What is wrong with a configuration, told so that the reader can fix it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake.

    `file` and `line` say where the value stands (`line` is None for a value that is missing altogether);
    `variable` names the environment variable instead, where the value came from one. `path` is the dotted key path,
    empty for the file as a whole.
    """

    message: str
    path: str = ""
    file: str | None = None
    line: int | None = None
    variable: str | None = None
    found: str | None = None
    allowed: str | None = None
    nearest: str | None = None
    hint: str | None = None

    @property
    def where(self) -> str:
        """`config.yaml:12`, `config.yaml` or `environment variable DAEDALUS__REDIS__URL`."""
        if self.variable is not None:
            return f"environment variable {self.variable}"
        file = self.file or "configuration"
        return file if self.line is None else f"{file}:{self.line}"

    def __str__(self) -> str:
        parts = [self.message]
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.allowed is not None:
            parts.append(f"allowed: {self.allowed}")
        if self.nearest is not None:
            parts.append(f"did you mean {self.nearest}?")
        if self.hint is not None:
            parts.append(self.hint)
        prefix = f"{self.where}: {self.path}" if self.path else self.where
        return f"{prefix}: {'; '.join(parts)}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds everything that is wrong with it, in the file's order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        heading = f"{count} problem{'s' if count != 1 else ''} in the configuration:"
        return "\n".join([heading, *(f"  {problem}" for problem in self.problems)])

    def to_json(self) -> str:
        """`{"ok": false, "problems": [{"message", "path", "file", "line", ...}, ...]}`."""
        return json.dumps({"ok": False, "problems": [asdict(problem) for problem in self.problems]}, indent=2)
