"""What an instance of ccxt still knows of a market that comes back to it.

While another replica had the market, its updates went on to come here, or did not: either way ccxt's book and trades
are of a time that the take-over's gap covers.

    trades: those in ccxt's cache are passed over
    book: folds in what came meanwhile, and is replaced by a snapshot without a word of what lies between; so it is not
          recorded until the snapshot is in it (kraken fails without a book, bybit would make one of a few levels)
"""

from typing import Any

from ccxt.async_support.base.ws.cache import ArrayCache

from daedalus_common.events import Channel
from daedalus_ingestor.subscriptions import Subscription


def leave_behind(exchange: Any, subscription: Subscription) -> None:
    """The new subscription records nothing from before it."""
    if subscription.channel is Channel.TRADES:
        subscription.trades.begin_after(c for c in exchange.trades.values() if isinstance(c, ArrayCache))
    if subscription.channel is Channel.ORDERBOOK:
        hold_book_back(exchange, subscription)


def hold_book_back(exchange: Any, subscription: Subscription) -> None:
    """The book that is there is not recorded until a snapshot is in it, or another takes its place."""
    book = exchange.orderbooks.get(subscription.market.symbol)
    if book is not None:
        _hold_back(book, subscription)


def forget_book(exchange: Any, symbol: str) -> None:
    """Only where nothing of the market comes any more: ccxt needs the book for whatever does."""
    exchange.orderbooks.pop(symbol, None)


def _hold_back(book: Any, subscription: Subscription) -> None:
    subscription.old_book = book
    reset = book.reset

    def reset_and_record(*args: Any) -> Any:
        vars(book).pop("reset", None)
        subscription.old_book = None
        return reset(*args)

    book.reset = reset_and_record
