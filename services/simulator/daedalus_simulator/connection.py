"""One client's websocket: its subscriptions, its stalls, and sending with backpressure."""

from aiohttp import WSCloseCode, WSMsgType, web

from daedalus_simulator.clock import Clock
from daedalus_simulator.frames import Stream


class Connection:
    """Sends frames until the socket goes. ``streams`` maps each subscribed name to its stream."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, clock: Clock) -> None:
        self._socket = socket
        self._transport = request.transport
        self._clock = clock
        self._open = True
        self._sends = 0
        self._blocked_since = 0.0
        self._stalls: dict[str | None, float] = {}
        self.last_heard = clock.monotonic()
        self.streams: dict[str, Stream] = {}

    async def send(self, instrument_id: str | None, payload: bytes) -> bool:
        """Hand a text frame to the socket, waiting while its buffer is full; False if it was not handed over.

        The wait is what keeps memory bounded: aiohttp buffers 64 KiB, the transport 64 KiB more.
        """
        if not self._open or self.stalled(instrument_id):
            return False
        if self._sends == 0:
            self._blocked_since = self._clock.monotonic()
        self._sends += 1
        try:
            await self._socket.send_frame(payload, WSMsgType.TEXT)
        except ConnectionError:
            self._open = False
            return False
        finally:
            self._sends -= 1
            self._blocked_since = self._clock.monotonic()
        return True

    def blocked_seconds(self) -> float:
        """How long a send has been waiting for the client to read."""
        return self._clock.monotonic() - self._blocked_since if self._sends else 0.0

    def silent_seconds(self) -> float:
        """How long nothing, not even a pong, has come from the client."""
        return self._clock.monotonic() - self.last_heard

    def stall(self, instrument_id: str | None, seconds: float) -> None:
        """Withhold the frames of one instrument, or (None) everything."""
        self._stalls[instrument_id] = self._clock.monotonic() + seconds

    def stalled(self, instrument_id: str | None) -> bool:
        if not self._stalls:
            return False
        now = self._clock.monotonic()
        self._stalls = {key: until for key, until in self._stalls.items() if until > now}
        return None in self._stalls or instrument_id in self._stalls

    def watches(self, instrument_id: str) -> bool:
        return any(stream[0] == instrument_id for stream in self.streams.values())

    async def ping(self) -> None:
        if self._open:
            try:
                await self._socket.ping()
            except ConnectionError:
                self._open = False

    async def close(self, code: WSCloseCode, reason: str) -> None:
        self._open = False
        await self._socket.close(code=code, message=reason.encode())

    def abort(self) -> None:
        """Cut the connection as a dying network does; bytes not yet sent are lost."""
        self._open = False
        if self._transport is not None:
            self._transport.abort()
