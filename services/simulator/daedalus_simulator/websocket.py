"""The websocket side: plain streams under ``/stream/ws/<n>``, subscribed by messages."""

from dataclasses import dataclass

import orjson
from aiohttp import WSMessage, WSMsgType, web

from daedalus_simulator.clock import Clock
from daedalus_simulator.connection import Connection
from daedalus_simulator.exchange import Exchange
from daedalus_simulator.frames import Stream, parse_stream
from daedalus_simulator.source import Source

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS")
_INVALID_REQUEST = 2
_INVALID_JSON = 3
_MAX_MESSAGE_BYTES = 1 << 20
_GOODBYE_SECONDS = 1.0
"""How long a connection that we close waits for the client to close it too."""

RequestId = int | str | None


class RequestError(Exception):
    """A client's message that cannot be served, with Binance's error code and the request's id as far as known."""

    def __init__(self, code: int, text: str, request_id: RequestId = None) -> None:
        super().__init__(text)
        self.code = code
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A client's message, parsed."""

    method: str
    names: tuple[str, ...]
    request_id: RequestId


def parse_request(text: str | bytes) -> StreamRequest:
    """Raises ``RequestError`` for anything that is not a request we know."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(_INVALID_JSON, f"Invalid JSON: {error}") from None
    if not isinstance(message, dict):
        raise RequestError(_INVALID_REQUEST, "Invalid request: request must be an object")
    request_id = message.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, int | str | None):
        raise RequestError(_INVALID_REQUEST, "Invalid request: request ID must be an unsigned integer or a string")
    method = message.get("method")
    if method not in _METHODS:
        text = f"Invalid request: unknown variant `{method}`, expected one of {', '.join(_METHODS)}"
        raise RequestError(_INVALID_REQUEST, text, request_id)
    names = message.get("params", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError(_INVALID_REQUEST, "Invalid request: params must be a list of stream names", request_id)
    if method != "LIST_SUBSCRIPTIONS" and not names:
        raise RequestError(_INVALID_REQUEST, "Invalid request: missing field `params`", request_id)
    return StreamRequest(method, tuple(names), request_id)


@dataclass(frozen=True, slots=True)
class Websocket:
    """The handler of websocket connections."""

    exchange: Exchange
    source: Source
    clock: Clock

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/stream/ws", self.serve), web.get("/stream/ws/{index:[0-9]+}", self.serve)]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until either side closes."""
        # ccxt offers permessage-deflate; as the real exchange, this one does not take it up. Pongs are handled
        # here (no autoping), because they show that a client lives.
        socket = web.WebSocketResponse(
            compress=False, autoping=False, timeout=_GOODBYE_SECONDS, max_msg_size=_MAX_MESSAGE_BYTES
        )
        await socket.prepare(request)
        connection = Connection(socket, request, self.clock)
        self.exchange.connect(connection)
        try:
            async for message in socket:
                connection.last_heard = self.clock.monotonic()
                await self._receive(connection, socket, message)
        except ConnectionError:
            # The client went away between its message and our answer.
            pass
        finally:
            self.exchange.disconnect(connection)
        return socket

    async def _receive(self, connection: Connection, socket: web.WebSocketResponse, message: WSMessage) -> None:
        if message.type is WSMsgType.PING:
            await socket.pong(message.data)
        elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            try:
                await self._answer(connection, parse_request(message.data))
            except RequestError as error:
                body = {"error": {"code": error.code, "msg": str(error)}, "id": error.request_id}
                await connection.send(None, orjson.dumps(body))

    async def _answer(self, connection: Connection, request: StreamRequest) -> None:
        if request.method == "LIST_SUBSCRIPTIONS":
            await _reply(connection, list(connection.streams), request.request_id)
        elif request.method == "UNSUBSCRIBE":
            for name in request.names:
                self.exchange.unsubscribe(connection, name)
            await _reply(connection, None, request.request_id)
        else:
            streams = [(name, self._stream(name, request.request_id)) for name in request.names]
            # The reply comes before the first frame: ccxt drops depth updates that come earlier, and a replayed
            # tape must not begin with one that is lost.
            await _reply(connection, None, request.request_id)
            for name, stream in streams:
                self.exchange.subscribe(connection, name, stream)
            for _, stream in streams:
                self.source.subscribed(stream)

    def _stream(self, name: str, request_id: RequestId) -> Stream:
        stream = parse_stream(name)
        if stream is None or stream[0] not in self.source.instruments:
            raise RequestError(_INVALID_REQUEST, f"Invalid request: invalid stream {name}", request_id)
        return stream


async def _reply(connection: Connection, result: object, request_id: RequestId) -> None:
    await connection.send(None, orjson.dumps({"result": result, "id": request_id}))
