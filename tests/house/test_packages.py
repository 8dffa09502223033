"""Each package is typed, says its sentence, and declares exactly what it imports."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest
from packaging.utils import canonicalize_name

from support.checkout import ROOT, Package, packages

PACKAGES = packages()
BY_NAME = {package.name: package for package in PACKAGES}
# Declared without an import of their own: redis takes hiredis as its parser where it is installed.
USED_BY_OTHERS = {"hiredis"}
# Released in step with the distribution that pins them, and part of what it documents.
COMPANIONS = {"annotated-types": "pydantic", "botocore": "boto3", "pydantic-core": "pydantic"}


each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)


def imported_modules(package: Package) -> set[str]:
    """The top-level modules that the package's code imports at run time, its own and the standard library's out."""
    names = {name for path in package.folder.rglob("*.py") for name in names_imported_by(path)}
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {package.module}


def names_imported_by(path: Path) -> set[str]:
    """The dotted names of the modules that the file imports at run time."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {name for node in run_time_nodes(tree) for name in imported_names(node)}


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The node and everything below it, without the bodies of `if TYPE_CHECKING:`."""
    yield node
    skipped = node.body if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING") else []
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from run_time_nodes(child)


def imported_names(node: ast.AST) -> list[str]:
    """The dotted names that an import statement loads; nothing for any other node."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def distributions(modules: set[str]) -> set[str]:
    """The distributions to declare for the modules; a module that nothing installs stands for itself."""
    known = packages_distributions()
    names = {canonicalize_name(known.get(module, [module])[0]) for module in modules}
    return {COMPANIONS.get(name, name) for name in names}


def reachable_modules(package: Package) -> set[str]:
    """The top-level modules that can be loaded with the package: by its code, or by ours that it imports."""
    ours = {each.module for each in PACKAGES}
    graph = grimp.build_graph(*ours, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None)
    tops = {name.split(".")[0] for name in graph.find_upstream_modules(package.module, as_package=True)}
    return tops - set(sys.stdlib_module_names) - ours


def declared(package: Package) -> set[str]:
    """What the package itself may import: its requirements and its extras."""
    extras = [need for extra in package.extras.values() for need in extra]
    return {canonicalize_name(need.name) for need in (*package.dependencies, *extras)}


def installed_with(package: Package) -> set[str]:
    """What is there once the package is installed, through our own packages and the extras asked of them."""
    names = declared(package)
    for need in package.dependencies:
        ours = BY_NAME.get(canonicalize_name(need.name))
        if ours:
            asked = [other for extra in need.extras for other in ours.extras[extra]]
            names |= {canonicalize_name(other.name) for other in (*ours.dependencies, *asked)}
    return names


@each_package
def test_a_package_declares_every_module_that_it_imports(package: Package) -> None:
    assert distributions(imported_modules(package)) - declared(package) == set()


@each_package
def test_all_that_a_package_can_load_is_installed_with_it(package: Package) -> None:
    assert distributions(reachable_modules(package)) - installed_with(package) == set()


@each_package
def test_a_package_imports_every_dependency_that_it_declares(package: Package) -> None:
    assert declared(package) - distributions(imported_modules(package)) - USED_BY_OTHERS == set()


@each_package
def test_a_package_is_built_by_hatchling_and_asks_for_python_3_11(package: Package) -> None:
    assert [requirement.name for requirement in package.build_requires] == ["hatchling"]
    assert package.project["requires-python"] == ">=3.11"
    assert package.project["license"] == "MIT"


@each_package
def test_a_package_is_typed_and_says_what_it_is_in_one_sentence(package: Package) -> None:
    folder = package.folder / package.module
    assert (folder / "py.typed").is_file()
    sentence = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert sentence
    assert sentence.splitlines()[0].endswith(".")


def test_the_features_use_no_library_but_numpy_and_polars() -> None:
    assert imported_modules(BY_NAME[canonicalize_name("daedalus-features")]) <= {"numpy", "polars"}


def test_no_module_is_longer_than_400_lines() -> None:
    modules = [path for folder in ("libs", "services", "tools", "tests") for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in modules}
    assert {path: length for path, length in lengths.items() if length > 400} == {}
    assert len(lengths) > len(PACKAGES)


def test_no_two_test_modules_share_a_name() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
