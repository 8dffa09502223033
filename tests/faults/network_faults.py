"""Faults of a network, which a proxy brings about: the same ones before Redis and before the object store."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from faults.cells import Action, Trial
from faults.rig import Rig
from faults.tools.tcp_proxy import TcpProxy

ProxyOf = Callable[[Rig], TcpProxy]
Hold = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Traffic:
    """How strong the faults are; what passes there decides it."""

    latency: tuple[float, float]
    """Seconds each way."""
    request_bytes: int
    """A connection is cut after at most so many: in the middle of a request, or in one of the next ones."""
    reply_bytes: int
    bytes_per_second: int


def network_faults(proxy_of: ProxyOf, traffic: Traffic) -> dict[str, tuple[Action, Hold]]:
    """Each fault's action and how long it lasts, by its name in the matrix."""

    def faults(bring: Callable[[TcpProxy, Random], None]) -> Action:
        @contextmanager
        def action(rig: Rig, rng: Random) -> Iterator[Trial]:
            proxy = proxy_of(rig)
            hits = proxy.hits
            bring(proxy, rng)
            try:
                yield Trial(touched=lambda: proxy.hits - hits)
            finally:
                proxy.heal()

        return action

    return {
        "latency": (faults(lambda p, r: p.latency(r.uniform(*traffic.latency), 0.05)), (1.0, 3.0)),
        "reset": (faults(lambda p, _: p.reset()), (0.3, 1.0)),
        "reset of every connection": (faults(lambda p, _: p.reset(keep_on=True)), (0.5, 3.0)),
        "half-open": (faults(lambda p, _: p.half_open()), (1.5, 3.0)),
        "cut replies": (faults(lambda p, r: p.truncate(r.randint(1, traffic.reply_bytes))), (0.5, 2.0)),
        "cut requests": (faults(lambda p, r: p.truncate_requests(r.randint(1, traffic.request_bytes))), (0.5, 2.0)),
        "bandwidth": (faults(lambda p, _: p.bandwidth(traffic.bytes_per_second)), (1.0, 3.0)),
        "slow close": (faults(lambda p, r: p.slow_close(r.uniform(0.5, 1.5))), (1.0, 2.0)),
    }
