"""Small files of /proc and /sys below any root, so that another machine's can be looked at."""

from contextlib import suppress
from pathlib import Path


def below(root: Path, path: str | Path) -> Path:
    """An absolute path as it is found below `root`."""
    return root / str(path).lstrip("/")


def read_text(root: Path, path: str | Path) -> str | None:
    """Without surrounding white space and zero bytes; None where it is missing or may not be read."""
    with suppress(OSError):
        return below(root, path).read_text(encoding="utf-8", errors="replace").strip().strip("\0")
    return None


def read_number(root: Path, path: str | Path) -> int | None:
    """None where there is no whole number, such as `max`."""
    text = read_text(root, path)
    return int(text) if text and text.isdigit() else None


def names(root: Path, folder: str | Path) -> tuple[str, ...]:
    """What lies in a folder, sorted; nothing where there is none."""
    with suppress(OSError):
        return tuple(sorted(each.name for each in below(root, folder).iterdir()))
    return ()
