"""Keeps secrets out of whatever is printed: logs, error messages, `daedalus config show`."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

_SECRET_KEY = re.compile(
    r"secret|password|passwd|passphrase|credential|api_?key|access_?key|private_?key|authorization", re.IGNORECASE
)
# Up to the last "@", for an unescaped "/" or "@" in a password must not uncover the rest of it. The price: an "@"
# in the path of a URL with a port hides what lies between.
_URL_CREDENTIALS = re.compile(r"([a-z][a-z0-9+.-]*://[^\s:/?#@]*):[^\s\"'<>]*@", re.IGNORECASE)
_URL_SECRET_PARAMETER = re.compile(
    r"([?&][^=&\s]*(?:secret|password|api_?key|signature|credential|token)[^=&\s]*)=[^&\s\"'<>]+", re.IGNORECASE
)


def is_secret_key(key: str) -> bool:
    """Whether the value under `key` must not be shown: `api_secret`, `s3_access_key`, `redisPassword`, ...

    The path of a file that holds a secret (`password_file`) is no secret.
    """
    return _SECRET_KEY.search(key) is not None and not key.lower().endswith("_file")


def mask_url(text: str) -> str:
    """`redis://user:pw@host` -> `redis://user:***@host`, and secret query parameters likewise, anywhere in `text`."""
    if "://" not in text:
        return text
    return _URL_SECRET_PARAMETER.sub(rf"\1={MASK}", _URL_CREDENTIALS.sub(rf"\1:{MASK}@", text))


def mask_secrets(value: Any) -> Any:
    """A copy of nested mappings and lists, where non-empty values of secret keys and in URLs read `***`."""
    if isinstance(value, Mapping):
        return {
            key: MASK if isinstance(key, str) and is_secret_key(key) and inner else mask_secrets(inner)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [mask_secrets(inner) for inner in value]
    return mask_url(value) if isinstance(value, str) else value
