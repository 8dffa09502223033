"""Hours since the epoch: the grain in which objects are named."""

from datetime import datetime

from daedalus_common.plans import hour_of

HOUR_NS = 3_600_000_000_000


def hour_at(hour: int) -> datetime:
    """The start of an hour that is given by its number since the epoch."""
    return hour_of(hour * HOUR_NS)
