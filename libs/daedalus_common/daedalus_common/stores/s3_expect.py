"""A PUT asks the server before it sends its body (`Expect: 100-continue`): mends how botocore reads the answer.

botocore 1.44 skips what follows the line "100 Continue" up to an empty line, and looks for that line for ever, on a
whole core, where the connection ends before it: no timeout ends that. Not to ask would be worse: a server that has the
object already refuses a body of 100 MB unread, and the reset that follows may take its 412 along.
"""

from typing import BinaryIO

from botocore.awsrequest import AWSConnection


def _consume_headers(_: AWSConnection, answer: BinaryIO) -> None:
    """Up to the empty line or the end; after an end the body cannot be sent, which botocore takes for a lost answer."""
    while answer.readline().strip():
        pass


def mend_expect() -> None:
    """For every connection of this process."""
    AWSConnection._consume_headers = _consume_headers  # type: ignore[attr-defined]  # its stubs lack it
