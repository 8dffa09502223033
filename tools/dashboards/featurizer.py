"""From raw events to Silver and Gold rows: how fast, how late, and what features ignore."""

from tools.dashboards.boards import Board
from tools.dashboards.panels import Limits, Panel, Query
from tools.dashboards.promql import INSTANCE, MARKET, growth, quantile, rate

FEATURIZER = Board(
    title="Featurizer",
    answers="Whether live features keep up with the events, and which events they leave out.",
    panels=(
        Panel(
            "graph", "Events", unit="cps", stacked=True,
            says="Events a second that went through a committed step, by market.",
            bad="below what the ingestors capture, for long.",
            runbook="FeaturizerBehind",
            queries=(
                Query(rate("daedalus_featurizer_events_total", MARKET, "exchange, symbol"), "{{exchange}} {{symbol}}"),
            ),
        ),
        Panel(
            "graph", "Rows", unit="cps", stacked=True,
            says="Rows a second added to the silver and gold streams.",
            bad="zero while events go through: books are invalid, or a transform is off.",
            runbook="FeaturizerBehind",
            queries=(Query(rate("daedalus_featurizer_rows_total", MARKET, "layer"), "{{layer}}"),),
        ),
        Panel(
            "graph", "Lag", unit="s",
            says="Age of the newest event that went through a committed step, by market.",
            bad="above some seconds: a live reader of rows acts on old markets.",
            runbook="FeaturizerBehind",
            queries=(
                Query(
                    f"max by (exchange, symbol) (daedalus_featurizer_lag_seconds{{{MARKET}}})",
                    "{{exchange}} {{symbol}}",
                ),
            ),
            limits=Limits(10, 60),
        ),
        Panel(
            "graph", "Time of a step", unit="s",
            says="Time to compute one step of at most 500 events, and for Redis to apply it.",
            bad="computing above 1 s: too many markets, start another replica. Redis above 0.1 s: its machine is busy.",
            runbook="FeaturizerBehind",
            queries=(
                Query(quantile(0.5, "daedalus_featurizer_step_seconds", INSTANCE), "computing, half"),
                Query(quantile(0.99, "daedalus_featurizer_step_seconds", INSTANCE), "computing, 99 %"),
                Query(quantile(0.5, "daedalus_featurizer_commit_seconds", INSTANCE), "Redis, half"),
                Query(quantile(0.99, "daedalus_featurizer_commit_seconds", INSTANCE), "Redis, 99 %"),
            ),
            limits=Limits(0.5, 1),
        ),
        Panel(
            "graph", "Unread raw entries",
            says="Raw entries that the featurizer has not gone through, by market.",
            bad="growing without end. A wait of 5 s is normal where no row is due.",
            runbook="FeaturizerBehind",
            queries=(
                Query(
                    "sum by (exchange, symbol) "
                    f'(daedalus_stream_group_lag_entries{{{MARKET}, stream="raw", group="featurizer"}})',
                    "{{exchange}} {{symbol}}",
                ),
            ),
        ),
        Panel(
            "graph", "Markets by featurizer", stacked=True,
            says="Markets each replica owns.",
            bad="none: no features are computed.",
            runbook="MarketsWithoutOwner",
            queries=(Query(f"daedalus_featurizer_markets{{{INSTANCE}}}", "{{instance}}"),),
        ),
        Panel(
            "graph", "Geneses",
            says="In each interval: beginnings of features, at first start and when a parameter changes.",
            bad="more than the changes you made: replicas run with different parameters.",
            runbook="FeaturizerBehind",
            queries=(
                Query(
                    growth("daedalus_featurizer_geneses_total", MARKET, "exchange, symbol"),
                    "{{exchange}} {{symbol}}",
                ),
            ),
        ),
        Panel(
            "graph", "Events without features",
            says="In each interval: books and trades that features ignore, by reason; entries that are not ours; "
            "events older than the first genesis. Bronze has them all.",
            bad="a steady rate of one reason: the exchange sends crossed or empty books, or its clock jumps.",
            runbook="DeadLetters",
            queries=(
                Query(growth("daedalus_featurizer_invalid_events_total", MARKET, "reason"), "{{reason}}"),
                Query(growth("daedalus_featurizer_foreign_entries_total", MARKET), "not ours"),
                Query(growth("daedalus_featurizer_events_before_genesis_total", MARKET), "before the genesis"),
            ),
        ),
        Panel(
            "graph", "Conflicts", unit="cps",
            says="Steps refused because the cursor had moved; the state is read again.",
            bad="a steady rate: something else moves the group `featurizer`.",
            runbook="LeasesNotRenewed",
            queries=(Query(rate("daedalus_featurizer_conflicts_total", INSTANCE), "conflicts"),),
            limits=Limits(0.1, 1),
        ),
    ),
)  # fmt: skip
