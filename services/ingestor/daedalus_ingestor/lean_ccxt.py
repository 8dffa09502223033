"""Imports of ccxt that load the exchanges one uses, and not all hundred: half the memory, a third of the start.

`import ccxt.pro` runs three package files that import every exchange. Stand-ins for those packages, put in place before
the first import, find the same modules and bind the same names, each when it is first asked for. The classes are
ccxt's own, unmodified; a test compares them.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_PACKAGES = ("ccxt", "ccxt.async_support", "ccxt.pro")


class _LazyPackage(ModuleType):
    """`package.binance` is the class, as in ccxt, where it takes the place of the module of that name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            import_module(f"{self.__name__}.{name}")
        except ModuleNotFoundError as error:
            raise AttributeError(f"{self.__name__} has no {name}") from error
        return self.__dict__[name]

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds each module in its package when it is loaded.
        super().__setattr__(name, getattr(value, name, value) if isinstance(value, ModuleType) else value)


def install() -> None:
    """For the whole process, for good; does nothing where ccxt is imported already."""
    if "ccxt" in sys.modules:
        return
    for name in _PACKAGES:
        _put_in_place(name)
    errors = import_module("ccxt.base.errors")
    for name in _PACKAGES:
        for error in vars(errors):
            if not error.startswith("_"):
                setattr(sys.modules[name], error, getattr(errors, error))
    # The client of websockets imports it from the package, the packages offer it to users.
    sys.modules["ccxt"].Exchange = import_module("ccxt.base.exchange").Exchange  # type: ignore[attr-defined]
    asynchronous = import_module("ccxt.async_support.base.exchange").Exchange
    for name in _PACKAGES[1:]:
        sys.modules[name].Exchange = asynchronous  # type: ignore[attr-defined]


def _put_in_place(name: str) -> None:
    spec = find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"{name} is not installed", name=name)
    package = _LazyPackage(name, "Stands for ccxt's package of this name.")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    package.__file__ = spec.origin
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)
