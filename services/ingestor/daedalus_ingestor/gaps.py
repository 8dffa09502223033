"""When a gap is declared: time in which nobody watched is loss, and nothing else is.

Every start, take-over, reconnect and resync declares one gap per channel; until the next event of that channel
arrives there is nothing more to declare. Only what the queue drops is declared whenever it happens, with its number.
"""

from enum import StrEnum

from daedalus_common.events import Channel, Gap


class Reason(StrEnum):
    """Why events may be missing."""

    START = "start"
    """The market's first events ever."""
    TAKEOVER = "takeover"
    """Another process watched before; what happened between the two is unknown."""
    RECONNECT = "reconnect"
    """The connection was lost."""
    RESYNC = "resync"
    """ccxt found a hole in the exchange's sequence and starts the book anew."""
    SEQUENCE = "sequence"
    """We found a hole in the exchange's sequence, where ccxt does not look."""
    STALE = "stale"
    """The connection stood still."""
    BAD_FRAME = "bad_frame"
    """A frame could not be read; whatever it carried is missing."""
    UNENCODABLE = "unencodable"
    """An update came, with values that are no numbers."""
    REFUSED = "refused"
    """The exchange answered with an error."""
    OVERFLOW = "overflow"
    """The queue was full."""
    BURST = "burst"
    """More trades in one frame than ccxt keeps."""
    SERVER_LOST = "server_lost"
    """Redis lost events that it had confirmed."""
    SPOOL_LOST = "spool_lost"
    """Events between what is published and what the disk spool kept: in memory when their process died, or damaged.

    At least so many as it says, those of ours included: a gap event among them stood for more.
    """


class Place:
    """Where one channel of a market stands: its last recorded event, and whether a gap is open after it."""

    __slots__ = ("channel", "gap_open", "last_id", "last_nonce")

    def __init__(self, channel: Channel, last_nonce: int | None = None, last_id: str | None = None) -> None:
        self.channel = channel
        self.last_nonce = last_nonce
        self.last_id = last_id
        self.gap_open = False

    def declare(self, reason: Reason, capture_ts: int) -> Gap | None:
        """The gap to record now; None when one is open already."""
        if self.gap_open:
            return None
        self.gap_open = True
        return Gap(capture_ts, self.channel.value, reason.value, self.last_nonce, self.last_id)

    def declare_lost(self, reason: Reason, capture_ts: int, lost: int) -> Gap:
        """The gap that says how many events are known to be missing after the last recorded one."""
        return Gap(capture_ts, self.channel.value, reason.value, self.last_nonce, self.last_id, lost)
