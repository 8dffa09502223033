"""Stream entries as the events that features are computed on."""

from operator import attrgetter

import numpy as np

from daedalus_common.batches import Batch
from daedalus_common.events import Genesis as GenesisEvent
from daedalus_common.events import Ticker
from daedalus_features import Books, Events, Genesis, Tickers, Trades

_ticker_fields = attrgetter(*Tickers.FIELDS)


def events_of(batch: Batch) -> Events:
    """The same columns in the features' form; gaps and heartbeats keep only their kind and time."""
    books, trades = batch.books, batch.trades
    return Events(
        ts=batch.ts,
        kind=batch.kind,
        books=Books(
            position=books.position,
            bid_price=np.ascontiguousarray(books.bids[:, :, 0]),
            bid_size=np.ascontiguousarray(books.bids[:, :, 1]),
            ask_price=np.ascontiguousarray(books.asks[:, :, 0]),
            ask_size=np.ascontiguousarray(books.asks[:, :, 1]),
            bid_levels=books.bid_levels,
            ask_levels=books.ask_levels,
        ),
        trades=Trades(position=trades.position, price=trades.price, amount=trades.amount, side=trades.side),
        tickers=_tickers(batch),
        geneses=tuple(
            Genesis(position, event.id, event.params)
            for position, event in batch.packed
            if isinstance(event, GenesisEvent)
        ),
    )


def _tickers(batch: Batch) -> Tickers:
    found = [(position, event) for position, event in batch.packed if isinstance(event, Ticker)]
    if not found:
        return Tickers.empty()
    # NumPy makes NaN of None.
    values = np.array([_ticker_fields(event) for _, event in found], dtype=np.float64)
    position = np.array([position for position, _ in found], dtype=np.int64)
    return Tickers(position, np.ascontiguousarray(values.T))
