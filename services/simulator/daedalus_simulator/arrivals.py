"""When things happen: self-exciting arrivals of quotes and market orders, and the walk of the fair value."""

import math
from dataclasses import dataclass

import numpy as np

SECONDS_A_YEAR = 365.25 * 86_400


@dataclass(frozen=True, slots=True)
class Excitation:
    """How arrivals breed arrivals (a Hawkes process with exponential kernels, in discrete time).

    ``quote_by_quote`` of all quotes are children of a quote, ``order_by_order`` of all market orders children
    of an order, ``quote_by_order`` of all quotes children of an order. All below 1, so rates stay finite; the
    rest arrives by itself, which makes the mean rates exactly those asked for.
    """

    quote_by_quote: float = 0.4
    quote_by_order: float = 0.2
    order_by_order: float = 0.5
    quote_decay: float = 10.0
    order_decay: float = 4.0


class Arrivals:
    """Counts of quotes and market orders per time step."""

    def __init__(self, rng: np.random.Generator, step_seconds: float, excitation: Excitation) -> None:
        self._rng = rng
        self._step = step_seconds
        self._excitation = excitation
        self._quote_heat = 0.0
        self._order_heat = 0.0

    def draw(self, quote_rate: float, order_rate: float) -> tuple[int, int]:
        """(quotes, market orders) of the next step, whose long-run means per second are the given rates."""
        x = self._excitation
        quote_by_order = x.quote_by_order if order_rate > 0 else 0.0
        quote_base = (1 - x.quote_by_quote - quote_by_order) * quote_rate
        order_base = (1 - x.order_by_order) * order_rate
        quotes = int(self._rng.poisson((quote_base + self._quote_heat) * self._step))
        orders = int(self._rng.poisson((order_base + self._order_heat) * self._step))
        # A step is short against the decay (10 ms against 100 ms), and dividing by the kernel's own discrete
        # sum instead of decay * step keeps the number of children exact for any step.
        quote_keep = math.exp(-x.quote_decay * self._step)
        order_keep = math.exp(-x.order_decay * self._step)
        children = x.quote_by_quote * quotes
        if order_rate > 0:
            children += x.quote_by_order * quote_rate / order_rate * orders
        self._quote_heat = quote_keep * self._quote_heat + children * (1 - quote_keep) / self._step
        self._order_heat = order_keep * self._order_heat + x.order_by_order * orders * (1 - order_keep) / self._step
        return quotes, orders


class FairValue:
    """A random walk with mean-reverting stochastic volatility, in ticks; quotes and informed orders follow it."""

    # Log-volatility reverts within 20 s (1/0.05) and has a standard deviation of 0.5: calm and hectic minutes.
    _REVERSION = 0.05
    _VOLATILITY_OF_VOLATILITY = 0.5 * math.sqrt(2 * _REVERSION)

    def __init__(self, ticks: float, annual_volatility: float, step_seconds: float) -> None:
        self.ticks = ticks
        self._floor = max(50.0, ticks / 100)
        self._sigma = annual_volatility * math.sqrt(step_seconds / SECONDS_A_YEAR)
        self._log_volatility = 0.0
        self._reversion = self._REVERSION * step_seconds
        self._shock = self._VOLATILITY_OF_VOLATILITY * math.sqrt(step_seconds)

    def step(self, volatility_normal: float, price_normal: float) -> None:
        self._log_volatility += self._shock * volatility_normal - self._reversion * self._log_volatility
        change = self._sigma * math.exp(self._log_volatility) * price_normal
        self.ticks = max(self._floor, self.ticks * math.exp(change))
