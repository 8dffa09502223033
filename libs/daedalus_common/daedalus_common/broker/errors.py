"""What a script refuses, as exceptions the loops can act on."""

from redis.exceptions import ResponseError


class Fenced(Exception):
    """Somebody else holds the lease now: drop everything about the market and publish nothing more."""


class Conflict(Exception):
    """The cursor or plan is not where the caller thought: read it again before going on."""


def refusal(error: ResponseError) -> Exception:
    """The exception a script's error reply stands for; the reply itself when it is none of ours."""
    text = str(error)
    if text.startswith("FENCED"):
        return Fenced(text)
    if text.startswith("CONFLICT"):
        return Conflict(text)
    return error


def described(error: BaseException) -> str:
    """One line for an operator: redis-py's own repr, `network:ConnectionError`, leaves out what happened."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
