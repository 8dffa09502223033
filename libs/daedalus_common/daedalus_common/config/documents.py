"""A YAML file as plain values that still know their line."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from daedalus_common.config.errors import ConfigError, Problem

KeyPath = tuple[str | int, ...]

_MERGE_KEY = "<<"


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, except that `1e5` is a number (YAML 1.1 wants `1.0e+5`)."""


_Loader.yaml_implicit_resolvers = {key: list(value) for key, value in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"),
    list("-+0123456789"),
)


@dataclass(frozen=True, slots=True)
class Document:
    """The values of one file and where they stand."""

    file: str
    values: dict[str, Any]
    root: yaml.MappingNode | None = None

    def line(self, path: KeyPath) -> int | None:
        """The line (from 1) of the deepest part of `path` that the file has; None when it has none of it."""
        node: yaml.Node | None = self.root
        line: int | None = None
        for key in path:
            found = _child(node, key)
            if found is None:
                break
            mark, node = found
            line = mark.line + 1
        return line


def read_document(path: Path) -> Document:
    """Reads a file. Raises ConfigError when it is missing, unreadable, empty, not UTF-8 or not a YAML mapping."""
    file = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError([Problem("no such file", file=file)]) from None
    except IsADirectoryError:
        raise ConfigError([Problem("is a directory", file=file, allowed="a YAML file")]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([Problem("not UTF-8 text", file=file, line=line)]) from None
    except OSError as error:
        raise ConfigError([Problem(f"cannot be read: {error.strerror}", file=file)]) from None
    return parse_document(text, file)


def parse_document(text: str, file: str) -> Document:
    """Parses YAML text; `file` is its name in error messages. Raises ConfigError."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise ConfigError([Problem("the file is empty", file=file, allowed="a YAML mapping of sections")])
        if not isinstance(root, yaml.MappingNode):
            found = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            problem = Problem("not a mapping", file=file, line=1, found=found, allowed="a YAML mapping of sections")
            raise ConfigError([problem])
        if problems := _structural_problems(root, file):
            raise ConfigError(problems)
        return Document(file, loader.construct_document(root), root)
    except yaml.YAMLError as error:
        raise ConfigError([_syntax_problem(error, file)]) from None
    except ValueError as error:
        # PyYAML lets these through from what it takes for a date (2026-13-01) or a number.
        raise ConfigError([Problem(f"YAML syntax: {error}", file=file)]) from None
    except RecursionError:
        raise ConfigError([Problem("nested too deeply", file=file)]) from None


def parse_value(text: str) -> Any:
    """One YAML value, as in an environment variable. Raises ValueError with the reason."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(_syntax_problem(error, "").message) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _syntax_problem(error: yaml.YAMLError, file: str) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        line = None if mark is None else mark.line + 1
        column = "" if mark is None else f" (column {mark.column + 1})"
        return Problem(f"YAML syntax: {what}{column}", file=file, line=line)
    reason = getattr(error, "reason", None) or "cannot be parsed"
    return Problem(f"YAML syntax: {reason}", file=file)


def _structural_problems(root: yaml.Node, file: str) -> list[Problem]:
    """Duplicate keys (PyYAML silently takes the last), keys that are no text, values that contain themselves."""
    problems: list[Problem] = []
    seen: set[int] = set()

    def visit(node: yaml.Node, path: tuple[str, ...], inside: tuple[int, ...]) -> None:
        if id(node) in inside:
            line = node.start_mark.line + 1
            problems.append(Problem("contains itself", ".".join(path), file, line, hint="remove the YAML alias"))
            return
        if id(node) in seen:
            return
        seen.add(id(node))
        inside = (*inside, id(node))
        if isinstance(node, yaml.MappingNode):
            problems.extend(_key_problems(node, path, file))
            for key, value in node.value:
                visit(value, (*path, str(key.value)), inside)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                visit(item, (*path, str(index)), inside)

    visit(root, (), ())
    return problems


def _key_problems(node: yaml.MappingNode, path: tuple[str, ...], file: str) -> list[Problem]:
    problems: list[Problem] = []
    first_line: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            problems.append(Problem("a key that is no text", ".".join(path), file, line, allowed="a name"))
            continue
        name = str(key.value)
        where = ".".join((*path, name))
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag != "tag:yaml.org,2002:str":
            hint = f'put it in quotes: "{name}"'
            problems.append(Problem("a key that is no text", where, file, line, found=name, hint=hint))
        if name in first_line:
            hint = f"it stands on line {first_line[name]} already; remove one of the two"
            problems.append(Problem("duplicate key", where, file, line, found=name, hint=hint))
        first_line.setdefault(name, line)
    return problems


def _child(node: yaml.Node | None, key: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        item = node.value[key]
        return item.start_mark, item
    if not isinstance(node, yaml.MappingNode):
        return None
    for name, value in node.value:
        if name.value == key:
            return name.start_mark, value
    for name, value in node.value:
        if name.value == _MERGE_KEY:
            merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for candidate in merged:
                if found := _child(candidate, key):
                    return found
    return None
