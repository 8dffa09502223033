"""One websocket of ccxt, tapped.

    frame -> guard -> ccxt's handlers -> client.resolve(result, hash) -> recorder, then ccxt's waiters

ccxt calls `resolve` for every update, also for those that nobody awaits; `watch_*` returns only the latest.
"""

from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import WSMsgType
from ccxt.base.errors import BaseError, ChecksumError, ExchangeError, NetworkError

from daedalus_ingestor.gaps import Reason
from daedalus_ingestor.recorder import Recorder
from daedalus_ingestor.sequences import SequenceNumber, is_hole
from daedalus_ingestor.staleness import Pulse
from daedalus_ingestor.subscriptions import Subscription

_HOLD_SECONDS = 0.005


class Listener(Protocol):
    """Hears of what the feed must act on. Called from inside ccxt's handlers: it must neither await nor raise."""

    def rejected(self, subscription: Subscription, error: BaseException) -> None:
        """ccxt gave up one subscription; the connection goes on."""

    def connection_lost(self, connection: "Connection", reason: Reason, error: BaseException) -> None:
        """Nothing comes from this connection any more."""

    def frame_failed(self, connection: "Connection", kind: str, error: BaseException, frame: str) -> None:
        """A frame ended in an error; `kind` is unreadable, handler, checksum or refused."""


class Connection:
    """Wraps one client's methods."""

    def __init__(
        self,
        client: Any,
        recorder: Recorder,
        listener: Listener,
        sequence_number: SequenceNumber | None,
        is_crowded: Callable[[], bool],
        now: float,
    ) -> None:
        self.client = client
        self.recorder = recorder
        self.pulse = Pulse(now)
        self.lost = False
        self._listener = listener
        self._is_crowded = is_crowded
        self._sequence_number = sequence_number
        self._last_number: int | None = None
        self._loss = Reason.RECONNECT
        self._takers = recorder.takers
        # An exchange that pings by text also gets text back.
        self._json_only = client.ping is None
        self._resolve, client.resolve = client.resolve, self._on_resolve
        self._reject, client.reject = client.reject, self._on_reject
        self._receive_loop, client.receive_loop = client.receive_loop, self._on_receive
        self._handle_message, client.handle_message = client.handle_message, self._on_frame
        self._on_error_callback, client.on_error_callback = client.on_error_callback, self._on_error
        self._on_close_callback, client.on_close_callback = client.on_close_callback, self._on_close
        if sequence_number is not None:
            self._on_message_callback, client.on_message_callback = client.on_message_callback, self._on_message

    @property
    def fed(self) -> dict[Subscription, None]:
        """The subscriptions that got something from here."""
        return self.recorder.fed

    def observe(self, now: float) -> None:
        self.pulse.observe(now, self.recorder.frame, self.recorder.events)

    def reset(self, reason: Reason, text: str) -> None:
        """Ends the connection, as if it had been lost: every subscription on it must begin anew."""
        self._loss = reason
        self.client.on_error(NetworkError(text))

    def forget(self, subscription: Subscription) -> None:
        """The subscription ends or begins anew here."""
        others = self.recorder.forget(subscription)
        for message_hash in [h for h in self.client.subscriptions if isinstance(h, str) and h not in others]:
            if subscription.is_named_in(message_hash):
                # Otherwise ccxt would take the channel for subscribed and ask for nothing when it is watched again.
                del self.client.subscriptions[message_hash]

    def silence(self) -> None:
        """From now on nothing is recorded and nobody is told."""
        self.lost = True

    def end(self) -> None:
        """Closes the websocket; nobody is told."""
        self.silence()
        self.client.on_error(NetworkError("nothing is subscribed here any more"))

    def _on_receive(self) -> None:
        if self._is_crowded() and not self.lost:
            self.client.asyncio_loop.call_later(_HOLD_SECONDS, self._on_receive)
        else:
            self._receive_loop()

    def _on_frame(self, message: Any) -> None:
        # An exception that left here would end ccxt's receive loop for good, without a word.
        self.recorder.frame += 1
        try:
            if self._json_only and message.type is WSMsgType.TEXT and message.data[:1] not in ("{", "["):
                raise ValueError("no JSON object")  # ccxt would pass it to handlers that ignore it
            self._handle_message(message)
        except ChecksumError as error:
            self._listener.frame_failed(self, "checksum", error, _text(message))
            self.reset(Reason.RESYNC, str(error))
        except BaseError as error:
            self._listener.frame_failed(self, "refused", error, _text(message))
        except ValueError as error:
            self._listener.frame_failed(self, "unreadable", error, _text(message))
        except Exception as error:
            self._listener.frame_failed(self, "handler", error, _text(message))

    def _on_message(self, client: Any, message: Any) -> None:
        number = self._sequence_number(message) if self._sequence_number and isinstance(message, dict) else None
        if number is not None:
            last, self._last_number = self._last_number, number
            if is_hole(last, number):
                self.reset(Reason.SEQUENCE, f"frames between number {last} and {number} are missing")
                return
        self._on_message_callback(client, message)

    def _on_resolve(self, result: Any, message_hash: str) -> Any:
        take = self._takers.get(type(result))
        if take is not None:
            if self.lost:
                self.recorder.pass_over(result, message_hash)
            else:
                take(result, message_hash)
        return self._resolve(result, message_hash)

    def _on_reject(self, error: BaseException, message_hash: str | None = None) -> Any:
        rejected = self._reject(error, message_hash)
        if message_hash is None:
            self._on_reject_all(error)
        elif not self.lost:
            # Kept by ccxt for the next watch, where it would come up a second time.
            self.client.rejections.pop(message_hash, None)
            for subscription in self.recorder.named(message_hash):
                self._listener.rejected(subscription, error)
        return rejected

    def _on_reject_all(self, error: BaseException) -> None:
        if isinstance(error, ExchangeError):
            return  # an answer of the exchange; the connection is alive, and its waiters have the error
        if self.client.error is None and not self.lost:
            self.client.on_error(error)  # ccxt's receive loop ended without saying so, or the handler reset it
        self._lose(error)

    def _on_error(self, client: Any, error: BaseException) -> None:
        self._on_error_callback(client, error)
        self._lose(error)

    def _on_close(self, client: Any, code: int) -> None:
        if not self.lost:
            # ccxt comes here twice for one connection; the second time its url may belong to the next client.
            self._on_close_callback(client, code)
        self._lose(NetworkError(f"closed with code {code}"))

    def _lose(self, error: BaseException) -> None:
        if not self.lost:
            self.lost = True
            self._listener.connection_lost(self, self._loss, error)


def _text(message: Any) -> str:
    data = getattr(message, "data", message)
    return data.decode(errors="replace") if isinstance(data, bytes) else str(data)
