"""Features of our own: importing this package registers them."""

from my_features import book_shape, trade_runs

__all__ = ["book_shape", "trade_runs"]
