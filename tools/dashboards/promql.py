"""The few shapes of expression that the panels use, with the variables of the dashboards in them."""

EXCHANGE = 'exchange=~"$exchange"'
SYMBOL = 'symbol=~"$symbol"'
INSTANCE = 'instance=~"$instance"'
MARKET = f"{EXCHANGE}, {SYMBOL}, {INSTANCE}"
OF_EXCHANGE = f"{EXCHANGE}, {INSTANCE}"
OURS = 'job=~"ingestor|writer|featurizer|compactor"'


def rate(metric: str, where: str, by: str = "") -> str:
    """How much a counter grows a second, summed."""
    return f"{_sum(by)}(rate({metric}{{{where}}}[$__rate_interval]))"


def growth(metric: str, where: str, by: str = "", over: str = "$__rate_interval") -> str:
    """How much a counter has grown, summed; by its whole value where its series is younger than that.

    `increase` alone does not see what brings a series: the first dead letter would be shown as none.
    """
    series = f"{metric}{{{where}}}"
    was_there = f"(increase({series}[{over}]) and {series} offset {over})"
    return f"{_sum(by)}({was_there} or ({series} unless {series} offset {over}))"


def or_zero(expression: str) -> str:
    """For counters that have no series before they first count."""
    return f"{expression} or vector(0)"


def quantile(share: float, histogram: str, where: str, by: str = "") -> str:
    """A quantile of what a histogram of ours has seen lately."""
    buckets = rate(f"{histogram}_bucket", where, f"le, {by}" if by else "le")
    return f"histogram_quantile({share}, {buckets})"


def mean(total: str, count: str, where: str, by: str = "") -> str:
    """Growth of one counter for each one of another."""
    return f"{rate(total, where, by)} / ({rate(count, where, by)} > 0)"


def _sum(by: str) -> str:
    return f"sum by ({by}) " if by else "sum"
