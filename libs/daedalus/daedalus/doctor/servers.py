"""The configured server: does it answer, is it set up so that nothing is lost, does its clock agree with ours?"""

import asyncio
import socket
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from daedalus.doctor.findings import Finding, Level, error, info, ok, warning
from daedalus_common.broker import server_check
from daedalus_common.broker.client import connect_to
from daedalus_common.config import Config
from daedalus_common.telemetry import mask_url

_SUBJECT = "redis"
_PATIENCE_SECONDS = 10.0

MOST_AHEAD_SECONDS = 5.0
"""A capture time further ahead of the server's clock is replaced by the server's."""

_NOTICEABLE_SECONDS = 1.0
_DEFAULT_URL = "redis://127.0.0.1:6379/0"
_EMBEDS = "nothing to do for `daedalus up`, which starts a server of its own"
_LEVELS = {
    server_check.Level.ERROR: Level.ERROR,
    server_check.Level.WARNING: Level.WARNING,
    server_check.Level.INFO: Level.INFO,
}


def is_here(url: str) -> bool:
    """Whether the server of this URL runs on this host."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "unix" or host in ("localhost", "::1", socket.gethostname()) or host.startswith("127.")


async def examine_server(config: Config) -> list[Finding]:
    """Asks it; changes nothing."""
    url = mask_url(config.redis.url)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS), aclosing(connect_to(config.redis)) as client:
            await client.ping()
            settings = await server_check.check_server(client)
            ahead = await _ahead_seconds(client)
    except (AuthenticationError, AuthorizationError, NoPermissionError) as refusal:
        return [judge_refusal(config.redis.url, mask_url(str(refusal)))]
    except (RedisError, OSError, TimeoutError) as silence:
        return [judge_silence(config.redis.url, mask_url(str(silence) or "no answer in time"))]
    return [*judge_settings(url, settings), judge_difference(ahead)]


def judge_refusal(url: str, reason: str) -> Finding:
    """A server is there and does not know us."""
    seen = f"{mask_url(url)} does not let us in: {reason}"
    fix = "set redis.username, and redis.password or redis.password_file"
    if url == _DEFAULT_URL:
        return warning(_SUBJECT, seen, f"{_EMBEDS}; else {fix}")
    return error(_SUBJECT, seen, fix)


def judge_silence(url: str, reason: str) -> Finding:
    """Nobody is there."""
    seen = f"no answer of {mask_url(url)}: {reason}"
    if url == _DEFAULT_URL:
        return info(_SUBJECT, seen, f"{_EMBEDS}; else start one there")
    return error(_SUBJECT, seen, "start it, or set redis.url")


def judge_settings(url: str, found: tuple[server_check.Finding, ...]) -> list[Finding]:
    """What the services would say about its settings when they start."""
    if not found:
        return [ok(_SUBJECT, f"{url} answers, and is set up so that nothing is lost")]
    return [ok(_SUBJECT, f"{url} answers"), *map(_finding, found)]


def judge_difference(ahead_seconds: float) -> Finding:
    """How far this host's clock is ahead of the server's."""
    subject = "clock against redis"
    seen = f"{abs(ahead_seconds):.1f} s {'ahead of' if ahead_seconds >= 0 else 'behind'} the server's"
    fix = "have NTP keep the clocks of both hosts"
    if ahead_seconds > MOST_AHEAD_SECONDS:
        return error(subject, f"{seen}: capture times would be replaced by the server's", fix)
    if abs(ahead_seconds) > _NOTICEABLE_SECONDS:
        return warning(subject, seen, fix)
    return ok(subject, seen)


def _finding(found: server_check.Finding) -> Finding:
    # Their texts are "what is, and why it is bad; what to do".
    seen, _, fix = found.text.partition("; ")
    return Finding(_LEVELS[found.level], f"{_SUBJECT} {found.setting}", seen, fix)


async def _ahead_seconds(client: Any) -> float:
    before = time.time()
    answer = await client.time()
    # In the middle of the question and its answer. A cluster may answer for each node.
    now = (before + time.time()) / 2
    answers = answer.values() if isinstance(answer, Mapping) else [answer]
    ahead: list[float] = [now - seconds - microseconds / 1e6 for seconds, microseconds in answers]
    return max(ahead, key=abs)
