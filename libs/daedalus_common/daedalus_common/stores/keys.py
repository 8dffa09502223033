"""The rules for object keys and metadata, the same for every store (see `object_store.ObjectStore`)."""

import re
import string
import uuid
from collections.abc import Mapping
from urllib.parse import quote, unquote

KEY_LIMIT_BYTES = 1024  # S3's limit for a key
SEGMENT_LIMIT_BYTES = 255  # NAME_MAX of ext4, xfs, btrfs, and of SeaweedFS's folders
METADATA_LIMIT_BYTES = 2048  # S3's limit for all user metadata of an object

# Hidden from globs by the dot and by the suffix; ours alone, so that a cleanup removes nobody else's files.
_RESERVED = (".daedalus-", ".tmp")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_METADATA_KEY = re.compile("[a-z0-9-]+")
# What a header carries unchanged through every server seen. '%' is the escape; servers trim and fold spaces.
_HEADER_SAFE = "".join(sorted(set(string.punctuation) - {"%"}))


def check_key(key: str) -> str:
    """`key`, if it obeys the rules. Raises ValueError that says which rule it breaks."""
    if not is_unicode(key):
        raise ValueError(f"object key that is not valid Unicode: {key!r}")
    if len(key.encode()) > KEY_LIMIT_BYTES:
        raise ValueError(f"object key longer than {KEY_LIMIT_BYTES} bytes: {key[:80]!r}…")
    if _CONTROL.search(key):
        raise ValueError(f"object key with a control character: {key!r}")
    if "\\" in key:
        # SeaweedFS keeps it as '/': the object would be listed under another key.
        raise ValueError(f"object key with a backslash: {key!r}")
    for segment in key.split("/"):
        if segment in ("", ".", ".."):
            raise ValueError(f"object key with the segment {segment!r}: {key!r}")
        if is_reserved(segment):
            raise ValueError(f"object key with a name reserved for unfinished files: {key!r}")
        if len(segment.encode()) > SEGMENT_LIMIT_BYTES:
            raise ValueError(f"object key with a segment longer than {SEGMENT_LIMIT_BYTES} bytes: {key!r}")
    return key


def check_listing(prefix: str, start_after: str | None) -> None:
    """Raises ValueError unless the folder of `prefix` is a valid key and `start_after` lies in it."""
    folder = prefix.rpartition("/")[0]
    if folder:
        check_key(folder)
    elif prefix.startswith("/"):
        raise ValueError(f"listing prefix must be relative: {prefix!r}")
    if start_after is not None and start_after.rpartition("/")[0] != folder:
        raise ValueError(f"start_after {start_after!r} is not in the folder of the prefix {prefix!r}")


def check_folder(prefix: str) -> None:
    """Raises ValueError unless `prefix` names a folder: empty, or a valid key and a `/`."""
    if prefix:
        if not prefix.endswith("/"):
            raise ValueError(f"the prefix of a folder ends with '/': {prefix!r}")
        check_key(prefix[:-1])


def is_reserved(segment: str) -> bool:
    """True for names that hold unfinished files and probe objects."""
    return segment.startswith(_RESERVED[0]) and segment.endswith(_RESERVED[1])


def reserved_name(purpose: str) -> str:
    """A new unique reserved name: `.daedalus-<purpose>-<random>.tmp`."""
    return f"{_RESERVED[0]}{purpose}-{uuid.uuid4().hex}{_RESERVED[1]}"


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata as header values: ASCII, with every other character percent-encoded. Raises ValueError."""
    encoded = {key: quote(value, safe=_HEADER_SAFE) for key, value in metadata.items()}
    wrong = [key for key, value in encoded.items() if not (_METADATA_KEY.fullmatch(key) and value)]
    if wrong:
        # SeaweedFS drops those without a value.
        raise ValueError(f"metadata keys must match {_METADATA_KEY.pattern!r} and have a value: {wrong}")
    size_bytes = sum(len(key) + len(value) for key, value in encoded.items())
    if size_bytes > METADATA_LIMIT_BYTES:
        raise ValueError(f"metadata of {size_bytes} bytes, at most {METADATA_LIMIT_BYTES} are allowed")
    return encoded


def decode_metadata(encoded: Mapping[str, str]) -> dict[str, str]:
    """The inverse of `encode_metadata`. Keys come back in lower case: servers may change theirs."""
    return {key.lower(): unquote(value) for key, value in encoded.items()}


def is_unicode(text: str) -> bool:
    """False for text with lone surrogates: how Python shows file names that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
