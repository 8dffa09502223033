"""A configuration as YAML again, for `daedalus config show`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from daedalus_common.config.masking import MASK, mask_secrets
from daedalus_common.config.model import Config


def config_to_yaml(config: Config, *, masked: bool = True) -> str:
    """Every key with its value in effect. Masked, secrets read `***`; unmasked, the text loads to an equal `Config`."""
    values = _plain(config.model_dump(), masked)
    return yaml.dump(mask_secrets(values) if masked else values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Mappings in lines, lists in one line."""


def _list_in_one_line(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


_Dumper.add_representer(list, _list_in_one_line)


def _plain(value: Any, masked: bool) -> Any:
    if isinstance(value, Mapping):
        # What was read from a secret's file is not repeated beside the file's name.
        return {key: _plain("" if value.get(f"{key}_file") else inner, masked) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, masked) for inner in value]
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        return MASK if masked and text else text
    if isinstance(value, Path):
        return str(value)
    return value
