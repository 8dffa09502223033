"""config/daedalus.example.yaml is complete, true and says what its numbers mean."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from daedalus_common.config import Config, load_config, parse_config
from daedalus_common.config.schema import Slot, root_slot
from daedalus_common.config.sections.features import Overrides

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "daedalus.example.yaml"
UNIT_OF = {
    re.compile(r"_seconds$|^reconnect_delay$|^emit_interval$|_window$|_windows$|_durations$"): "econds",
    re.compile(r"_mb$"): "MB",
    re.compile(r"_levels$|depth$"): "evels",
    re.compile(r"vpin_bucket_size|volume_bar_size|dollar_bar_size"): "units",
    re.compile(r"_ticks$|_span$|tick_bar_size"): "rades",
    re.compile(r"_alpha$|_decay$"): "without unit",
}


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return values


def keys_of(slot: Slot, path: str = "") -> list[str]:
    """Every key path that the models know; the keys below free names are listed once, under `*`."""
    if slot.section is not None and issubclass(slot.section, Overrides):
        return []
    if slot.section is not None:
        children = {name: slot.child(name) for name in slot.section.model_fields}
    elif slot.is_mapping:
        children = {"*": slot.child("*")}
    else:
        return []
    found = []
    for name, child in children.items():
        assert child is not None
        found += [f"{path}{name}", *keys_of(child, f"{path}{name}.")]
    return found


def present_keys(values: Any, path: str = "") -> set[str]:
    if not isinstance(values, dict):
        return set()
    found: set[str] = set()
    for key, value in values.items():
        found |= {f"{path}{key}", *present_keys(value, f"{path}{key}.")}
    return found


def test_the_example_loads() -> None:
    config = load_config(EXAMPLE, {})
    assert {market.exchange for market in config.markets()} == {"binanceus", "coinbaseadvanced"}


def test_every_key_is_in_the_example(written: dict[str, Any]) -> None:
    present = present_keys(written)
    present |= {re.sub(r"^(ccxt\.exchanges|features\.markets)\.[^.]+", r"\1.*", key) for key in present}
    # One role shows the s3 section; the others are its like.
    present |= {key.replace("ingestion_storage", role) for role in ("etl_storage_input", "etl_storage_output")
                for key in present if key.startswith("storage.ingestion_storage.s3")}  # fmt: skip
    keys = [key for key in keys_of(root_slot(Config)) if not key.endswith("options.*")]
    assert len(keys) > 90
    assert [key for key in keys if key not in present] == []


def test_what_is_not_marked_as_an_example_is_the_default(written: dict[str, Any]) -> None:
    s3 = written["storage"]["ingestion_storage"]["s3"]
    exchange = written["ccxt"]["exchanges"]["binanceus"]
    written_s3 = parse_config({"storage": {"ingestion_storage": {"s3": s3}}}).storage.ingestion_storage.s3
    default_s3 = parse_config({"storage": {"ingestion_storage": {"s3": {"bucket": s3["bucket"]}}}})
    assert written_s3 == default_s3.storage.ingestion_storage.s3
    written_exchange = parse_config({"ccxt": {"exchanges": {"binanceus": exchange}}}).ccxt.exchanges["binanceus"]
    default_exchange = {"channels": exchange["channels"]}
    parsed = parse_config({"ccxt": {"exchanges": {"binanceus": default_exchange}}})
    assert written_exchange == parsed.ccxt.exchanges["binanceus"]
    rest = {key: dict(value) if isinstance(value, dict) else value for key, value in written.items() if key != "ccxt"}
    rest["storage"] = rest["storage"] | {"ingestion_storage": rest["storage"]["ingestion_storage"] | {"s3": None}}
    rest["features"] = rest["features"] | {"markets": {}}
    assert parse_config(rest) == Config()


def test_every_number_with_a_unit_has_a_comment_that_names_it() -> None:
    comment: list[str] = []
    unexplained = []
    after_key = False
    for line in EXAMPLE.read_text().splitlines():
        text = line.strip()
        if text.startswith("#"):
            # A comment holds for all the keys below it, up to the next comment.
            comment = [] if after_key else comment
            comment.append(text)
            after_key = False
        elif match := re.match(r"(\w+):", text):
            after_key = True
            for pattern, unit in UNIT_OF.items():
                if pattern.search(match[1]) and unit not in " ".join(comment):
                    unexplained.append((match[1], unit))
    assert unexplained == []
