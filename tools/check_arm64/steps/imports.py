"""Imports everything that lies in a folder of installed packages, and every module of ours that this image has.

    imports.py FOLDER [OUR_PACKAGE...]

Runs in the emulated machine, with nothing but Python. Each compiled module is imported by itself: a package's own
import loads but some of them. A name is printed before it is imported, so that the last one is what crashed.
"""

import importlib
import pkgutil
import sys
import traceback
import warnings
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import distributions
from pathlib import Path

# What Python says of a library that was loaded and is no module: other modules link to it, or call it through ctypes.
PLAIN_LIBRARY = "does not define module export function"


def main(folder: Path, ours: list[str]) -> int:
    warnings.simplefilter("ignore")
    failed = [name for name in sorted({*packages_in(folder), *compiled_in(folder)}) if not imported(name)]
    failed += [name for package in ours for name in modules_of(package) if not imported(name)]
    for name in failed:
        print(f"could not be imported: {name}", file=sys.stderr)
    return 1 if failed else 0


def packages_in(folder: Path) -> Iterator[str]:
    """What each distribution there puts at the top: packages and single modules."""
    for distribution in distributions(path=[str(folder)]):
        for file in distribution.files or ():
            name = file.parts[0]
            if len(file.parts) == 2 and file.name == "__init__.py" and not name.startswith("."):
                yield name
            elif len(file.parts) == 1 and file.suffix == ".py":
                yield file.stem


def compiled_in(folder: Path) -> Iterator[str]:
    """The names of the modules that are machine code."""
    for file in folder.rglob("*.so"):
        suffix = next((each for each in EXTENSION_SUFFIXES if file.name.endswith(each)), "")
        if suffix and (file.parent / "__init__.py").exists():
            yield ".".join((*file.relative_to(folder).parent.parts, file.name.removesuffix(suffix)))


def modules_of(package: str) -> Iterator[str]:
    """A package of ours and all below it but the program, which does what it is for when it is imported."""
    yield package
    path = importlib.import_module(package).__path__
    yield from (each.name for each in pkgutil.walk_packages(path, f"{package}.") if not each.name.endswith("__main__"))


def imported(name: str) -> bool:
    print(name, flush=True)
    try:
        importlib.import_module(name)
    except Exception as error:
        if PLAIN_LIBRARY not in str(error):
            traceback.print_exc()
            return False
    return True


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
