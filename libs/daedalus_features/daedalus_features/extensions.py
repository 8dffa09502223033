"""Features and transforms from packages of the user's own, found through entry points."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint

from daedalus_features.config import FeatureConfig
from daedalus_features.transforms import TRANSFORMS

EXTENSIONS_GROUP = "daedalus.features"
"""The entry point group whose modules register features and transforms as they are imported."""


class ExtensionError(Exception):
    """A user's package that cannot be imported or whose features are refused."""


def load_extensions(entry_points: Iterable[EntryPoint]) -> tuple[str, ...]:
    """Import the module of every entry point; gives their names, each with its package, in the order of import.

    They are imported in the order of their names, which every process shares, so that all have the same columns.
    Raises ExtensionError naming the entry point, its package and the cause.
    """
    loaded = []
    for point in sorted(entry_points, key=lambda point: (point.name, point.value)):
        package = point.dist.name if point.dist else point.module
        try:
            point.load()
            TRANSFORMS.transforms(FeatureConfig())
        except Exception as error:
            raise ExtensionError(
                f"extension {point.name} ({point.value}) of package {package}: {type(error).__name__}: {error}"
            ) from error
        loaded.append(f"{point.name} ({package})")
    return tuple(loaded)
