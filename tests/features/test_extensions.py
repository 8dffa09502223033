"""Features and transforms from a user's own package, found through an entry point."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from daedalus_features import EXTENSIONS_GROUP, ExtensionError, load_extensions

FEATURE = '''
from daedalus_features import SampledBooks, feature

@feature(unit="quote")
def quarter_spread(book: SampledBooks):
    """A quarter of the spread."""
    return book.spread / 4
'''
READER = """
from importlib.metadata import entry_points
from daedalus_features import EXTENSIONS_GROUP, FeatureConfig, load_extensions, table_of

print(*load_extensions(entry_points(group=EXTENSIONS_GROUP)))
print([name for name in table_of("orderbook", FeatureConfig()).index if name.startswith("quarter")])
"""


def installed(folder: Path, package: str, **modules: str) -> Path:
    """A package of these modules with an entry point for each, as an installer leaves it behind."""
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    points = "".join(f"{name} = {name}\n" for name in modules)
    (info / "entry_points.txt").write_text(f"[{EXTENSIONS_GROUP}]\n{points}")
    return folder


def read_with(folder: Path) -> subprocess.CompletedProcess:
    """A process of its own, since what a module registers stays."""
    return subprocess.run(
        [sys.executable, "-c", READER],
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_installed_package_adds_its_column(tmp_path):
    run = read_with(installed(tmp_path, "my-features", my_spread=FEATURE))
    assert run.stdout.splitlines() == ["my_spread (my-features)", "['quarter_spread']"]


def test_packages_are_loaded_in_the_order_of_their_names(tmp_path):
    run = read_with(installed(tmp_path, "several", b_second="", a_first=FEATURE, c_third=""))
    assert run.stdout.splitlines()[0] == "a_first (several) b_second (several) c_third (several)"


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("1/0", "ZeroDivisionError: division by zero"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        (FEATURE.replace("quarter_spread", "spread"), "ValueError: feature spread of table orderbook is registered"),
        (FEATURE.replace('"quote"', '"quotes"'), "ValueError: unit 'quotes'"),
        (
            FEATURE.replace("SampledBooks", "Mine").replace("import Mine,", "import").replace(
                "@feature", "class Mine:\n    table, section, reads, remembers = 'trades', 'trade', '', ''\n\n@feature"
            ),
            "ValueError: feature quarter_spread: table trades is made of ValidTrades; Mine needs a table",
        ),
    ],
)  # fmt: skip
def test_a_package_that_fails_is_named_with_the_cause(tmp_path, source, cause):
    run = read_with(installed(tmp_path, "broken", my_module=source))
    assert run.returncode == 1
    assert "ExtensionError: extension my_module (my_module) of package broken: " + cause in run.stderr


def test_an_entry_point_of_no_known_package_is_named_by_its_module():
    point = EntryPoint("ghost", "no_such_package.features", EXTENSIONS_GROUP)
    with pytest.raises(
        ExtensionError, match=r"ghost \(no_such_package.features\) of package no_such_package.features: "
    ):
        load_extensions([point])


def test_without_entry_points_nothing_is_loaded():
    assert load_extensions([]) == ()


INFINITE = """
from importlib.metadata import entry_points
from daedalus_features import EXTENSIONS_GROUP, advance, load_extensions
from features.sequences import SMALL, at, columns, quote

load_extensions(entry_points(group=EXTENSIONS_GROUP))
(rows, *_) = advance(None, columns([quote(at(0), 1.0, 2.0), quote(at(1), 1.0, 2.0)], SMALL)).rows
print(rows.column("quarter_spread"))
"""


def test_an_infinity_of_a_users_feature_is_null(tmp_path):
    divided = FEATURE.replace("book.spread / 4", "book.spread / 0")
    path = f"{installed(tmp_path, 'my-features', my_spread=divided)}:{Path(__file__).parents[1]}"
    run = subprocess.run(
        [sys.executable, "-c", INFINITE],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stdout.split() == ["[nan]"], run.stderr
