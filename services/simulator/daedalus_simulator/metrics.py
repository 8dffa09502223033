"""Prometheus metrics, read from the exchange's own counts when scraped: nothing is counted twice per frame."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from daedalus_simulator.exchange import Exchange
from daedalus_simulator.source import Source

_PREFIX = "daedalus_simulator_"


class ExchangeCollector(Collector):
    """Frames by symbol and channel, connections, subscriptions, faults, bytes."""

    def __init__(self, exchange: Exchange, source: Source) -> None:
        self._exchange = exchange
        self._source = source

    def collect(self) -> Iterator[Metric]:
        labels = ["symbol", "channel"]
        generated = CounterMetricFamily(
            _PREFIX + "frames_generated", "Frames of subscribed streams, sent or withheld by a fault", labels=labels
        )
        sent = CounterMetricFamily(_PREFIX + "frames_sent", "Frames handed to a subscriber's socket", labels=labels)
        for instrument_id, ledger in self._exchange.ledgers.items():
            symbol = self._source.instruments[instrument_id].symbol
            for channel, counts in ledger.channels.items():
                generated.add_metric([symbol, channel], counts.generated)
                sent.add_metric([symbol, channel], counts.sent)
        faults = CounterMetricFamily(_PREFIX + "faults", "Faults fired", labels=["kind"])
        for kind, count in self._exchange.fault_counts.items():
            faults.add_metric([kind], count)
        yield generated
        yield sent
        yield faults
        yield CounterMetricFamily(_PREFIX + "sent_bytes", "Payload bytes sent", value=self._exchange.bytes_sent)
        yield CounterMetricFamily(
            _PREFIX + "connections_opened", "Websockets opened", value=self._exchange.connections_opened
        )
        yield GaugeMetricFamily(_PREFIX + "connections", "Websockets open", value=len(self._exchange.connections))
        yield GaugeMetricFamily(
            _PREFIX + "subscriptions", "Subscriptions", value=sum(self._exchange.subscriptions().values())
        )


def registry_of(exchange: Exchange, source: Source) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(ExchangeCollector(exchange, source))
    return registry
