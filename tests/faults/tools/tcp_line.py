"""One proxied connection: two sides, a pipe each way, and the rules that bend what passes."""

import asyncio
import socket
import struct
from collections import deque
from contextlib import suppress

from faults.tools.tcp_rules import Medium, Way

_LINGER_NOT = struct.pack("ii", 1, 0)


class Side(asyncio.Protocol):
    """One end of a connection, and the pipe that takes away what it says."""

    def __init__(self, line: "Line", way: Way) -> None:
        self._line = line
        self.pipe = Pipe(line, way)
        self.transport: asyncio.Transport | None = None
        self.writable = True
        self.has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        # asyncio sets it for some sockets only; without it a pipeline's replies wait 40 ms for an acknowledgement.
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line.made(self)

    def data_received(self, data: bytes) -> None:
        self.pipe.feed(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        self._line.ended(self)
        return True  # the other half stays open

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._line.lost(self)

    def pause_writing(self) -> None:
        self.writable = False
        self._line.other(self).pipe.regulate()

    def resume_writing(self) -> None:
        self.writable = True
        self._line.other(self).pipe.regulate()

    def reset(self) -> None:
        """Ends with a RST."""
        if self.transport is not None:
            sock: socket.socket = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self.transport.abort()

    def finish(self) -> None:
        """Ends with a FIN; what the other end still says is read, or the kernel would make a RST of it."""
        if self.transport is not None and not self.transport.is_closing():
            with suppress(OSError):  # the other end has reset it a moment ago
                self.transport.write_eof()


class Pipe:
    """What one side said and the other has not heard yet, in order, each piece with its time; None is the end."""

    def __init__(self, line: "Line", way: Way) -> None:
        self._line = line
        self._way = way
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.budget: int | None = None
        self.ended = False

    def feed(self, data: bytes) -> None:
        line, medium = self._line, self._line.medium
        if line.silent or self.ended:
            medium.hits += 1
            return
        if medium.rules.drop_replies and self._way is Way.REPLY:
            medium.hits += 1
            line.out_of_step = True
            return
        cut = self.budget is not None and len(data) >= self.budget
        self._put(data if self.budget is None else data[: self.budget])
        if self.budget is not None:
            self.budget -= min(len(data), self.budget)
        if cut:
            medium.hits += 1
            line.cut(self)

    def end(self, delay: float = 0.0) -> None:
        """No more comes; the other side hears of it after what waits, and no sooner than `delay` from now."""
        if not self.ended:
            self.ended = True
            self._append(asyncio.get_running_loop().time() + delay, None)
            self._send_due()

    def hurry(self) -> None:
        """What waits goes now."""
        self._waiting = deque((0.0, piece) for _, piece in self._waiting)
        self._send_due()

    def drop(self) -> None:
        """What waits is gone."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self._stop_timer()

    def regulate(self) -> None:
        """Reads on only while there is room."""
        source, target = self._ends()
        if source.transport is None:
            return
        heard = target.transport is not None and target.writable and self._waiting_bytes <= self._line.medium.room_bytes
        room = heard or self._line.silent or self._line.cut_off
        if room:
            source.transport.resume_reading()
        else:
            source.transport.pause_reading()

    def _put(self, data: bytes) -> None:
        if not data:
            return
        for due, piece in self._line.medium.pieces(data, asyncio.get_running_loop().time()):
            self._append(due, piece)
        self._send_due()

    def _append(self, due: float, piece: bytes | None) -> None:
        last = self._waiting[-1][0] if self._waiting else 0.0
        self._waiting.append((max(due, last), piece))
        self._waiting_bytes += len(piece or b"")

    def _send_due(self) -> None:
        self._stop_timer()
        loop = asyncio.get_running_loop()
        _, target = self._ends()
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, piece = self._waiting.popleft()
            if piece is None:
                target.finish()
                self._line.finished(self)
            elif target.transport is not None:
                self._waiting_bytes -= len(piece)
                self._line.medium.bytes_passed[self._way] += len(piece)
                target.transport.write(piece)
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._send_due)
        self.regulate()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ends(self) -> tuple[Side, Side]:
        line = self._line
        return (line.client, line.server) if self._way is Way.REQUEST else (line.server, line.client)


class Line:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, medium: Medium, lines: set["Line"], upstream_port: int) -> None:
        self.medium = medium
        self._lines = lines
        self._upstream_port = upstream_port
        self._connecting: asyncio.Task[None] | None = None
        self._heard_of_end: set[Pipe] = set()
        self.client = Side(self, Way.REQUEST)
        self.server = Side(self, Way.REPLY)
        self.silent = False
        """Swallows everything and says nothing, not even that it ends."""
        self.cut_off = False
        self.out_of_step = False
        """A reply is missing: what comes later would be taken for it."""

    def other(self, side: Side) -> Side:
        return self.server if side is self.client else self.client

    def made(self, side: Side) -> None:
        """A side is connected: first the client's, which waits for the server's."""
        if side is self.server:
            if self not in self._lines:
                side.reset()
            self.client.pipe.regulate()
            return
        self._lines.add(self)
        rules = self.medium.rules
        if rules.reset_new:
            self.medium.hits += 1
            self.reset()
        elif rules.silent_new:
            self.medium.hits += 1
            self.silent = True
        else:
            self.obey_cut()
            assert side.transport is not None
            side.transport.pause_reading()
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, "127.0.0.1", self._upstream_port)
        except OSError:
            self.reset()  # as a server that ends while it accepts

    def obey_cut(self) -> None:
        """Takes the budget of the rules as they are now."""
        cut = self.medium.rules.cut
        for side, way in ((self.client, Way.REQUEST), (self.server, Way.REPLY)):
            side.pipe.budget = cut.after_bytes if cut is not None and way in cut.ways else None

    def cut(self, pipe: Pipe) -> None:
        """After what is on its way in this pipe no more comes. The server still answers what it heard whole."""
        rule = self.medium.rules.cut
        if rule is not None and rule.with_reset:
            self.reset()
            return
        self.cut_off = True
        self.client.pipe.end()
        if pipe is self.server.pipe:
            pipe.end()

    def leave_slowly(self) -> None:
        """The server hears a FIN now, the client when the rules' delay is over."""
        self.medium.hits += 1
        if self.server.transport is None:
            self.reset()
            return
        self.cut_off = True
        self.client.pipe.end()
        self.server.pipe.end(self.medium.rules.close_delay)

    def ended(self, side: Side) -> None:
        """A side sent its FIN."""
        if self.silent:
            self.medium.hits += 1
            return
        if self.medium.rules.close_delay and not side.pipe.ended:
            self.medium.hits += 1
        side.pipe.end(self.medium.rules.close_delay)
        self._close_the_ended()

    def finished(self, pipe: Pipe) -> None:
        """A side heard that it is over."""
        self._heard_of_end.add(pipe)
        self._close_the_ended()

    def _close_the_ended(self) -> None:
        """When both heard of it, each is closed as soon as it has said its own end: before, that would be a RST."""
        if len(self._heard_of_end) == 2:
            for side in (self.client, self.server):
                if side.transport is not None and side.has_ended:
                    side.transport.close()

    def lost(self, side: Side) -> None:
        """A side is gone without a word, or was closed by us."""
        if not self.silent and len(self._heard_of_end) < 2:
            self.other(side).reset()
        if self.client.transport is None and self.server.transport is None:
            self._lines.discard(self)

    def silence(self) -> None:
        """From now on everything vanishes, what waits included."""
        self.silent = True
        for side in (self.client, self.server):
            side.pipe.drop()
            side.pipe.regulate()

    def heal(self) -> None:
        """Goes on as if nothing had been, or ends with a RST where that cannot be."""
        if self.silent or self.out_of_step:
            self.reset()
            return
        for side in (self.client, self.server):
            side.pipe.budget = None
            side.pipe.hurry()
        if self.cut_off:
            for side in (self.client, self.server):
                if side.transport is not None:
                    side.transport.close()

    def reset(self) -> None:
        self._lines.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
        for side in (self.client, self.server):
            side.pipe.drop()
            side.reset()
