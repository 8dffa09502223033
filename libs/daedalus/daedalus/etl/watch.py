"""Pass after pass over what has come since."""

from collections.abc import Callable, Iterator
from threading import Event

from daedalus.etl.report import Report
from daedalus.etl.session import Session
from daedalus_common.stores import StoreError

Tell = Callable[[str], None]


def watching(session: Session, poll_seconds: float, stop: Event, tell: Tell) -> Iterator[Report]:
    """The report of each pass, until stopped. A store that is away is told of and tried again at the next look.

    Raises EtlError, and StoreError for what waiting cannot mend.
    """
    while not stop.is_set():
        try:
            report = session.run(stop, patient=True)
        except StoreError as error:
            if not error.retryable:
                raise
            tell(f"waiting for the store: {error}")
        else:
            yield report
        stop.wait(poll_seconds)
