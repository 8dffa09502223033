"""The services as they were at an older commit, to run beside today's on the same Redis and store."""

import functools
import io
import os
import subprocess
import zipfile
from pathlib import Path

from support.checkout import ROOT

COMMIT = "d6ba80d00aaea98db2bc485f964c3899ca6623a9"
GIT_SECONDS = 60.0
PARTS = ("libs", "services")


class OlderBuild:
    """Takes the packages of `commit` out of the repository's history into `folder`; the checkout stays as it is.

    A process that is started with `environment` runs them: they come before the installed ones. Their requirements
    are those installed today. Raises RuntimeError where it is `missing`.
    """

    def __init__(self, folder: Path, commit: str | None = None) -> None:
        self.commit = commit or COMMIT
        reason = _why_not(self.commit)
        if reason is not None:
            raise RuntimeError(reason)
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        archive = _git("archive", "--format=zip", self.commit, *PARTS).stdout
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            packed.extractall(self.folder)

    @classmethod
    def missing(cls, commit: str | None = None) -> str | None:
        """Why it does not work here, None where it does."""
        return _why_not(commit or COMMIT)

    @property
    def paths(self) -> list[Path]:
        """The folder of each package."""
        projects = (project for part in PARTS for project in self.folder.glob(f"{part}/*/pyproject.toml"))
        return sorted(project.parent for project in projects)

    def environment(self) -> dict[str, str]:
        """To be added to the environment of a process at its start: `python -m daedalus_writer` is the older one."""
        path = [*map(str, self.paths), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"PYTHONPATH": os.pathsep.join(path)}


@functools.cache
def _why_not(commit: str) -> str | None:
    try:
        found = _git("cat-file", "-e", f"{commit}^{{commit}}")
    except FileNotFoundError:
        return "git is not installed, and the older build comes out of the history"
    if found.returncode == 0:
        return None
    return f"the history does not reach back to commit {commit[:7]}: it needs a full clone"


def _git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    # A checkout that belongs to another user than the one who tests is read, not distrusted: no hook runs here.
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, timeout=GIT_SECONDS, check=False)
