"""The emulated machine is the one that is meant, what crashes on it is found, and what a Pi has to do runs on it."""

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tools.check_arm64.checks import IMAGES
from tools.check_arm64.comparison import Differs, compare_objects, compare_rows, objects_in
from tools.check_arm64.lakes import LEAST, compare_merged, small_objects
from tools.check_arm64.machine import Base, CannotRun, Machine, why

from daedalus_common.rows import Column, RowSchema, pack_rows
from support.checkout import ROOT
from support.compaction import compact_once, config_file

SKIPPED = "needs qemu-aarch64 (Debian: apt-get install qemu-user; .ci/run installs it)"
SCHEMA = RowSchema("silver", "orderbook", (Column("mid_price"), Column("spread")))

# Instructions of aarch64.
NOTHING = 0xD503201F
ADD_ATOMICALLY = 0xB82003E1  # ldadd w0, w1, [sp]: of ARMv8.1 (LSE)
END_WELL = (0xD2800BA8, 0xD2800000, 0xD4000001)  # x8 = 93 (exit), x0 = 0, call the kernel


def program(file: Path, *instructions: int) -> Path:
    """A whole executable of these instructions, which then ends with exit code 0."""
    code = struct.pack(f"<{len(instructions) + 3}I", *instructions, *END_WELL)
    base, headers = 0x400000, 64 + 56
    size = headers + len(code)
    elf = struct.pack(
        "<4s5B7xHHIQQQIHHHHHH",
        *(b"\x7fELF", 2, 1, 1, 0, 0, 2, 183, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x10000)
    file.write_bytes(elf + segment + code)
    file.chmod(0o755)
    return file


def machine(folder: Path) -> Machine:
    """Without a Python: for programs that need no library."""
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if qemu is None:
        pytest.skip(SKIPPED)
    return Machine(qemu, folder, "3.13", folder)


@pytest.mark.parametrize("page", [4096, 16384])
def test_the_emulated_processor_lacks_the_atomic_instructions_of_later_ones(tmp_path: Path, page: int) -> None:
    emulated = machine(tmp_path)
    ended = [
        subprocess.run(
            emulated.command(page, program(tmp_path / str(word), word), []), capture_output=True, check=False
        )
        for word in (NOTHING, ADD_ATOMICALLY)
    ]
    assert ended[0].returncode == 0
    assert why(ended[1].returncode) == "SIGILL: an instruction that a Cortex-A72 does not have"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ""),
        (-4, "SIGILL"),
        (132, "SIGILL"),
        (134, "SIGABRT"),
        (139, "SIGSEGV"),
        (-11, "SIGSEGV"),
        (1, "exit code 1"),
    ],
)
def test_an_exit_code_is_said_in_words(code: int, words: str) -> None:
    assert why(code).split(":")[0] == words


def test_the_python_is_that_of_the_images_base() -> None:
    base = Base.of(ROOT / "deploy" / "Dockerfile")
    assert (base.python, base.suite) == ("3.13", "trixie")


def test_a_dockerfile_without_that_base_is_named(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("ARG BASE=alpine\n")
    with pytest.raises(CannotRun, match="Dockerfile: there is no line ARG BASE=python:VERSION-slim-SUITE"):
        Base.of(tmp_path / "Dockerfile")


def rows(file: Path, *values: tuple[float, float]) -> Path:
    packed = pack_rows(SCHEMA, np.arange(len(values), dtype=np.int64), np.array(values))
    file.write_bytes(msgspec.msgpack.encode([("silver", "orderbook", msgspec.json.encode(SCHEMA), packed)]))
    return file


def test_values_that_differ_by_rounding_are_counted_and_others_refused(tmp_path: Path) -> None:
    here = rows(tmp_path / "here", (100.0, 0.5), (101.0, np.nan))
    same = compare_rows(rows(tmp_path / "there", (100.0, 0.5), (101.0 + 2e-14, np.nan)), here)
    assert same.startswith("3 values as here, 1 of them but for rounding")
    with pytest.raises(Differs, match=r"orderbook\.spread: 2\.0e-06 of its largest value apart"):
        compare_rows(rows(tmp_path / "there", (100.0, 0.500001), (101.0, np.nan)), here)
    with pytest.raises(Differs, match="values where there should be none"):
        compare_rows(rows(tmp_path / "there", (100.0, 0.5), (101.0, 0.5)), here)
    with pytest.raises(Differs, match="other rows"):
        compare_rows(rows(tmp_path / "there", (100.0, 0.5)), here)


def objects(folder: Path, *values: float, name: str = "silver-orderbook.parquet") -> Path:
    folder.mkdir()
    pq.write_table(pa.table({"mid_price": values}), folder / name)
    return folder


def test_objects_must_hold_the_very_same(tmp_path: Path) -> None:
    here = objects(tmp_path / "here", 1.0, 2.0)
    assert compare_objects(objects(tmp_path / "same", 1.0, 2.0), here) == "1 objects hold here what they hold there"
    with pytest.raises(Differs, match=r"silver-orderbook\.parquet: other rows"):
        compare_objects(objects(tmp_path / "other", 1.0, 2.0 + 1e-15), here)
    with pytest.raises(Differs, match="other objects"):
        compare_objects(objects(tmp_path / "named", 1.0, 2.0, name="gold.parquet"), here)


def test_all_small_objects_must_have_been_merged_into_the_very_same(tmp_path: Path) -> None:
    keys = small_objects(tmp_path / "small", rows(tmp_path / "rows", (100.0, 0.5), (101.0, np.nan)))
    assert {key.split("/")[0] for key in keys} == {"bronze", "quality", "silver"}
    lakes = {name: tmp_path / name / "data" for name in ("here", "same", "other", "idle")}
    for lake in lakes.values():
        shutil.copytree(tmp_path / "small", lake)
    for name in ("here", "same", "other"):
        compact_once(config_file(tmp_path / name, lakes[name], min_objects=LEAST))

    def here(name: str) -> Path:
        """Comparing takes the small ones away."""
        return Path(shutil.copytree(lakes["here"], tmp_path / f"here-{name}"))

    said = compare_merged(lakes["same"], here("same"), keys)
    assert said.startswith(f"{len(keys)} objects became 6 of ")
    assert said.endswith("6 objects hold here what they hold there")
    with pytest.raises(Differs, match="0 merged objects, 6 were to be made"):
        compare_merged(lakes["idle"], here("idle"), keys)
    [merged] = [key for key in objects_in(lakes["other"]) if key.startswith("silver/") and key not in keys]
    table = pq.ParquetFile(lakes["other"] / merged).read()
    pq.write_table(table.slice(1), lakes["other"] / merged)
    with pytest.raises(Differs, match=r"silver/.*: other rows"):
        compare_merged(lakes["other"], here("other"), keys)


def test_every_image_is_built_for_both_processors() -> None:
    command = ["docker", "buildx", "bake", "--print"]
    if shutil.which("docker") is None or subprocess.run(command[:2], capture_output=True, check=False).returncode:
        pytest.skip("needs the buildx plugin of Docker, but no engine")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    targets = json.loads(done.stdout)["target"]
    assert set(targets) == {image.name for image in IMAGES}
    assert {tuple(target["platforms"]) for target in targets.values()} == {("linux/amd64", "linux/arm64")}


# A minute on two cores, wheels in the cache of uv; the whole, `make arm64`, takes minutes.
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_rows_objects_and_merged_objects_are_the_same_on_a_raspberry_pi_5() -> None:
    machine(Path())
    command = [
        sys.executable,
        "-m",
        "tools.check_arm64",
        "--json",
        "--page",
        "16384",
        "--image",
        "featurizer",
        "writer",
        "compactor",
    ]
    done = subprocess.run(
        [*command, "--check", "features", "parquet", "merge"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cpu"] == "cortex-a72"
    assert [(each["image"], each["check"], each["page_bytes"]) for each in found["results"]] == [
        ("featurizer", "features", 16384),
        ("writer", "parquet", 16384),
        ("compactor", "merge", 16384),
    ]
    assert "1500 events" in found["results"][0]["detail"]
    assert all("hold here what they hold there" in each["detail"] for each in found["results"][1:])


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_a_check_that_goes_wrong_is_told_with_its_reason_and_exit_code_1() -> None:
    machine(Path())
    command = [sys.executable, "-m", "tools.check_arm64", "--page", "4096", "--image", "featurizer", "--limit", "0.1"]
    done = subprocess.run([*command, "--check", "features"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 1
    assert "FAILED: did not end within 0.1 s" in done.stdout
    assert "0 of 1 went well" in done.stdout
