"""From a YAML file and the environment to a `Config`, or to everything that is wrong with them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from daedalus_common.config.checks import Finding, check
from daedalus_common.config.documents import Document, KeyPath, read_document
from daedalus_common.config.environment import Override, apply_overrides
from daedalus_common.config.errors import ConfigError, Problem
from daedalus_common.config.explanations import dotted, explain, key_path
from daedalus_common.config.model import Config
from daedalus_common.config.schema import Slot, root_slot
from daedalus_common.config.secret_files import read_secret_files

_ROOT = root_slot(Config)

# A value that was dropped because it is wrong leaves its list empty or its section incomplete: no news.
_CONSEQUENCES = ("missing", "too_short")


def load_config(path: Path | None, env: Mapping[str, str]) -> Config:
    """Reads `path` (None: only defaults) and the `DAEDALUS__…` variables of `env`.

    Raises ConfigError with every problem of the file, of the variables and of the secret files they name.
    """
    document = Document("defaults", {}) if path is None else read_document(path)
    return _Loading(document, env).config()


def parse_config(data: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Config:
    """The same from plain values, as YAML would give them. Raises ConfigError."""
    return _Loading(Document("configuration", dict(data)), env or {}).config()


class _Loading:
    """One pass over one document: gathers the problems of every stage before it gives up."""

    def __init__(self, document: Document, env: Mapping[str, str]) -> None:
        self._document = document
        self._problems: list[Problem] = []
        self._overrides: list[Override] = []
        self._broken: list[KeyPath] = []
        self._older_names: dict[KeyPath, KeyPath] = {}
        self._values: dict[str, Any] = self._normal(document.values, _ROOT, ())
        self._overrides, problems = apply_overrides(self._values, env, _ROOT)
        self._problems += problems

    def config(self) -> Config:
        for path, problem in read_secret_files(self._values):
            self._tell(path, problem)
        config = self._validated()
        channels = config.etl.channels
        features = channels.orderbook.processor_options.over(config.features)
        features = channels.trades.processor_options.over(features)
        config = config.model_copy(update={"features": features})
        for finding in check(config):
            self._judge(finding)
        if self._problems:
            raise ConfigError(sorted(self._problems, key=_place))
        return config

    def _normal(self, value: Any, slot: Slot, path: KeyPath) -> Any:
        """A copy with today's names, where a section without content (`redis:`) is an empty one."""
        if value is None and (slot.section is not None or slot.is_mapping) and not slot.optional:
            return {}
        if isinstance(value, (list, tuple)):
            return list(value)
        if not isinstance(value, Mapping):
            return value
        normal: dict[str, Any] = {}
        for key, inner in value.items():
            name = slot.section.renamed_keys.get(key, key) if slot.section is not None else key
            here = (*path, name)
            if name != key:
                self._older_names[here] = (*path, key)
            if name in normal:
                self._tell(here, Problem("given twice", found="today's name and an older one", allowed=name))
            normal[name] = self._normal(inner, slot.child(name) or Slot(Any), here)
        return normal

    def _validated(self) -> Config:
        """The configuration without the values that cannot be used, so that the rest can be checked as well."""
        while True:
            try:
                return Config.model_validate(self._values)
            except ValidationError as error:
                errors = error.errors(include_url=False)
            for detail in errors:
                path = key_path(detail)
                if not (detail["type"] in _CONSEQUENCES and self._is_broken(path)):
                    self._tell(path, explain(detail, _ROOT))
            if not self._drop([_blamed(detail) for detail in errors]):
                raise ConfigError(sorted(self._problems, key=_place))

    def _drop(self, paths: list[KeyPath]) -> bool:
        """Removes the values at `paths`; False when there were none."""
        self._broken += paths
        # From the back, so that the indices within a list stay true.
        dropped = [_remove(self._values, path) for path in sorted(set(paths), key=_sortable, reverse=True)]
        return any(dropped)

    def _judge(self, finding: Finding) -> None:
        assumed = finding.paths if finding.assumes is None else finding.assumes
        if not any(self._is_broken(path) for path in assumed):
            written = (path for path in finding.paths if _has(self._values, path))
            problem = Problem(
                finding.message,
                found=finding.found,
                allowed=finding.allowed,
                nearest=finding.nearest,
                hint=finding.hint,
            )
            self._tell(next(written, finding.paths[0]), problem)

    def _tell(self, path: KeyPath, problem: Problem) -> None:
        """Adds a problem at the place where the user wrote the value."""
        override = next((entry for entry in reversed(self._overrides) if path[: len(entry.path)] == entry.path), None)
        if override is not None:
            self._problems.append(replace(problem, path=dotted(path), variable=override.variable))
            return
        path = self._older_names.get(path, path)
        place = replace(problem, path=dotted(path), file=self._document.file, line=self._document.line(path))
        self._problems.append(place)

    def _is_broken(self, path: KeyPath) -> bool:
        """Whether something at, above or below `path` could not be used."""
        return any(
            all("*" in (left, right) or left == right for left, right in zip(path, broken, strict=False))
            for broken in self._broken
        )


def _blamed(error: ErrorDetails) -> KeyPath:
    """What must go so that the error goes: for a missing key, the section that lacks it."""
    path = key_path(error)
    return path[:-1] if error["type"] == "missing" else path


def _remove(values: Any, path: KeyPath) -> bool:
    *parents, last = path
    for key in parents:
        values = values[key] if _has(values, (key,)) else None
    if not _has(values, (last,)):
        return False
    del values[last]
    return True


def _has(values: Any, path: KeyPath) -> bool:
    for key in path:
        present = key in values if isinstance(values, dict) else isinstance(values, list) and key in range(len(values))
        if not present:
            return False
        values = values[key]
    return True


def _sortable(path: KeyPath) -> tuple[tuple[bool, int, str], ...]:
    return tuple((isinstance(key, int), key if isinstance(key, int) else 0, str(key)) for key in path)


def _place(problem: Problem) -> tuple[bool, int]:
    """The file's problems by line, then the environment's."""
    return problem.variable is not None, problem.line or 0
