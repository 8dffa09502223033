"""Requests to our own children on this machine."""

import asyncio
import http.client
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 5.0
_ERROR_BYTES = 500

# No proxy: the environment's would be asked for 127.0.0.1 too.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Unreachable(Exception):
    """No usable answer; the text says which address and why."""


async def fetch(url: str, *, post: bool = False, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes:
    """The body of a 200. Raises Unreachable."""
    return await asyncio.to_thread(_fetch, url, post, timeout_seconds)


def _fetch(url: str, post: bool, timeout_seconds: float) -> bytes:
    request = urllib.request.Request(url, data=b"" if post else None, method="POST" if post else "GET")
    try:
        with _OPENER.open(request, timeout=timeout_seconds) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        with error:
            body_text = error.read(_ERROR_BYTES).decode(errors="replace").strip()
        raise Unreachable(f"{url}: {error.code} {body_text}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{url}: {error}") from error
