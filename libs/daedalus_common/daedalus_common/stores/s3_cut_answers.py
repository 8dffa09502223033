"""An answer that ends early is a lost answer: mends how http.client reads its headers, and botocore its body.

For http.client the headers end at an empty line, or where the connection ends. So an object whose answer was cut before
its Content-Length had no bytes, and a HEAD whose answer was cut in the middle of that number a wrong size. For botocore
1.44 a listing of which nothing but the headers came has no entries. Neither is an error, and whoever took it for the
truth wrote rows twice: the object of its own plan, found under its name, seemed to be somebody else's.
"""

from http.client import HTTPResponse, RemoteDisconnected
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.awsrequest import AWSConnection
from botocore.exceptions import ConnectionClosedError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class CutBody(ConnectionClosedError):
    """Of an answer fewer bytes came than its headers say."""


class _Lines:
    """What `begin` reads of a connection: whole lines. `last` is the newest of them, empty at the connection's end."""

    def __init__(self, connection: BinaryIO) -> None:
        self._connection = connection
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._connection.readline(limit)
        return self.last


class WholeResponse(HTTPResponse):
    """Whose headers end with an empty line. Raises RemoteDisconnected, which botocore takes for a lost answer."""

    fp: Any

    def begin(self) -> None:
        connection = self.fp
        lines = self.fp = _Lines(connection)
        try:
            super().begin()
        finally:
            if self.fp is lines:
                self.fp = connection
        if not lines.last:
            self.close()
            raise RemoteDisconnected("the answer ends within its headers")


def refuse_cut_headers() -> None:
    """For every connection of this process."""
    AWSConnection.response_class = WholeResponse  # type: ignore[assignment]  # its stubs have a part of the truth


def refuse_cut_bodies(client: "S3Client") -> None:
    """For every call of the client but those whose body the caller reads: that one botocore counts."""

    def check(operation_model: Any, response_dict: dict[str, Any], **_: object) -> None:
        said, body = response_dict["headers"].get("content-length"), response_dict["body"]
        is_whole = said is None or not isinstance(body, bytes) or said == str(len(body))
        if not is_whole and operation_model.http["method"] != "HEAD":
            raise CutBody(endpoint_url=client.meta.endpoint_url)

    client.meta.events.register("before-parse.s3", check)
