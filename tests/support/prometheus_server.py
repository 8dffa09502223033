"""A real Prometheus for tests: Debian's binary on 127.0.0.1, scraping every second, with the rules of deploy/."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import pytest
import yaml

from support.checkout import ROOT
from support.ports import free_port

RULES = ROOT / "deploy" / "prometheus" / "rules"
START_SECONDS = 30.0


def binary() -> str:
    """The program; the test is skipped where it is missing."""
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("needs the program `prometheus` (Debian's package of that name; .ci/run installs it)")
    return found


class QueryError(Exception):
    """Prometheus refused the expression; the text is its own."""


class PrometheusServer:
    """Scrapes `targets`, job -> addresses, and itself; the data lie in `folder`."""

    def __init__(self, folder: Path, targets: Mapping[str, list[str]]) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules" / "*.yml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": addresses}]}
                for job, addresses in {**targets, "prometheus": [f"127.0.0.1:{self.port}"]}.items()
            ],
        }
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, expression: str) -> list[Any]:
        """The series of an instant query. Raises QueryError."""
        answer = self._get("/api/v1/query", query=expression)["data"]
        return list(answer["result"]) if answer["resultType"] != "scalar" else [answer["result"]]

    def label_values(self, label: str, *selectors: str) -> list[str]:
        found: list[str] = self._get(f"/api/v1/label/{label}/values", **{"match[]": list(selectors)})["data"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Every rule that it evaluates, with `health` and `lastError`."""
        groups = self._get("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def targets(self) -> dict[str, set[str]]:
        """job -> health of its targets."""
        found: dict[str, set[str]] = {}
        for target in self._get("/api/v1/targets")["data"]["activeTargets"]:
            found.setdefault(target["labels"]["job"], set()).add(target["health"])
        return found

    def _get(self, path: str, **parameters: str | list[str]) -> Any:
        url = f"{self.url}{path}?{urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise QueryError(json.load(error)["error"]) from error

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(RULES, self.folder / "rules", ignore=_not_rules)
        for file in (self.folder / "rules").glob("*.yml"):
            file.write_text(_every_second(file.read_text(encoding="utf-8")), encoding="utf-8")
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(self._config))
        with (self.folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    binary(), f"--config.file={self.folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/-/ready", timeout=5).close()
                return
            except OSError as error:
                log = (self.folder / "prometheus.log").read_text(errors="replace")[-2000:]
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Prometheus did not start: {log}") from error
                time.sleep(0.1)


def _not_rules(_: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.endswith(".yml")}


def _every_second(text: str) -> str:
    """The rules, none of them evaluated more seldom than the rest."""
    document = yaml.safe_load(text)
    for group in document["groups"]:
        group.pop("interval", None)
    return yaml.safe_dump(document)
