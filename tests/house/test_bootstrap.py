"""Where the machine lacks something, the set-up says what to install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import ROOT


def bootstrap(venv: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run tools/bootstrap with this interpreter, or the one that the environment names."""
    return subprocess.run(
        [ROOT / "tools" / "bootstrap", venv],
        env=dict(os.environ) | {"PYTHON": sys.executable} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def altered_python(folder: Path, module: str, source: str) -> str:
    """A PYTHONPATH that makes the real interpreter import `module` as the given source."""
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    return str(folder)


def test_a_python_without_the_venv_module_names_the_package_to_install(tmp_path: Path) -> None:
    broken = altered_python(tmp_path, "ensurepip", "raise ImportError('not shipped')")
    done = bootstrap(tmp_path / "venv", PYTHONPATH=broken)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.returncode == 1
    assert f"apt-get install python{version}-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_python_that_is_too_old_is_refused_by_its_version(tmp_path: Path) -> None:
    old = altered_python(tmp_path, "sitecustomize", "import sys; sys.version_info = (3, 9, 2, 'final', 0)")
    done = bootstrap(tmp_path / "venv", PYTHONPATH=old)
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr


def test_where_no_python_is_new_enough_the_one_found_is_named(tmp_path: Path) -> None:
    old = altered_python(tmp_path, "sitecustomize", "import sys; sys.version_info = (3, 9, 2, 'final', 0)")
    done = bootstrap(tmp_path / "venv", PYTHON="", PYTHONPATH=old)
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed, found: " in done.stderr


def test_a_python_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = bootstrap(tmp_path / "venv", PYTHON="python3.11-of-nowhere")
    assert done.returncode == 1
    assert "PYTHON=python3.11-of-nowhere: there is no such program." in done.stderr


@pytest.mark.parametrize("target", ["demo", "test", "check", "bench", "lock", "format", "clean"])
def test_make_lists_its_targets_by_itself(target: str) -> None:
    listed = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    assert f"make {target} " in listed
