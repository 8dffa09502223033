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
