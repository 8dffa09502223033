"""Transforms and features of a user's own beside the built-in ones."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from daedalus_features import (
    TRANSFORMS,
    BaseTransform,
    Column,
    FeatureConfig,
    NoState,
    Rows,
    SampledBooks,
    SchemaError,
    Table,
    TransformRegistry,
    advance,
    catalogue,
    catalogue_markdown,
    columns_of,
    dump,
    feature,
    load,
    register_transform,
    schema_id,
    tables,
    transforms,
)
from daedalus_features import registry as registered
from daedalus_features.inputs import BookUpdates
from features.sequences import SMALL, after, as_dicts, at, columns, gathered, in_chunks, market, quote, trade


@dataclass(frozen=True)
class Record:
    """The greatest amount so far."""

    amount: float


class LargestTrades(BaseTransform):
    """Each trade that is larger than all before it."""

    name = "largest"
    input = "trades"
    channel = "trades"

    def __init__(self, params: FeatureConfig) -> None:
        super().__init__(params)
        self.tables = (
            Table("largest_trades", "gold", (Column("amount", "float64", "base", meaning="The new record."),)),
        )

    def initial(self) -> Record:
        return Record(0.0)

    def process(self, rows: Rows, state: Record) -> tuple[tuple[Rows, ...], Record]:
        amount = rows.column("amount")
        before = np.maximum.accumulate(np.concatenate(([state.amount], amount)))
        larger = (amount > before[:-1]).nonzero()[0]
        return (Rows(self.tables[0], rows.timestamp[larger], amount[larger, None]),), Record(float(before[-1]))


class EventCounts(BaseTransform):
    """How many events each portion had: not a sound transform, but a small one."""

    name = "counts"
    channel = "ticker"

    def __init__(self, params: FeatureConfig) -> None:
        super().__init__(params)
        self.tables = (Table("counts", "silver", (Column("count", "int64", "1"),)),)

    def initial(self) -> NoState:
        return NoState()

    def process(self, events, state):
        return (Rows(self.tables[0], events.ts[:1], np.array([[float(len(events))]])),), state


def variant(base: type[BaseTransform], **changes: object) -> type[BaseTransform]:
    return type("Variant", (base,), changes)


@pytest.fixture
def restored() -> Iterator[None]:
    """Takes back what a test registers."""
    classes, given = dict(TRANSFORMS._classes), dict(TRANSFORMS._given)
    features = dict(registered._FEATURES)
    yield
    TRANSFORMS._classes, TRANSFORMS._given = classes, given
    registered._FEATURES.clear()
    registered._FEATURES.update(features)
    TRANSFORMS.refresh()


def test_the_built_in_transforms_come_in_the_order_of_the_tables():
    assert [transform.name for transform in transforms(FeatureConfig())] == [
        "orderbook",
        "trades",
        "ticker",
        "bars",
        "trade_bars",
    ]


@pytest.mark.parametrize(
    ("channels", "names"),
    [
        (("orderbook",), ["orderbook", "bars"]),
        (("ticker",), ["ticker"]),
        (("ticker", "orderbook"), ["orderbook", "ticker", "bars"]),
        (
            ("trades",),
            [
                "trades",
                "trade_bars",
                "tick_bars",
                "volume_bars",
                "dollar_bars",
                "tick_imbalance_bars",
                "volume_imbalance_bars",
                "dollar_imbalance_bars",
            ],
        ),
        ((), []),
    ],
)
def test_a_configuration_has_the_tables_of_its_channels(channels, names):
    params = FeatureConfig(channels=channels)
    assert [table.name for table in tables(params)] == names
    assert list(dict.fromkeys(entry.table for entry in catalogue(params))) == names
    given = gathered([advance(None, columns(market(2, 400), params))])
    assert given.keys() <= set(names)


@pytest.mark.parametrize("channel", ["orderbook", "trades", "ticker"])
def test_the_rows_of_one_channel_are_the_same_without_the_others(channel):
    events = market(2, 500)
    every = gathered([advance(None, columns(events, SMALL))])
    alone = gathered([advance(None, columns(events, SMALL.restricted([channel])))])
    assert alone
    for table, parts in alone.items():
        assert as_dicts(parts) == as_dicts(every[table])


@pytest.mark.usefixtures("restored")
def test_a_users_transform_of_the_trades_table_gives_its_own_rows_in_any_portions():
    register_transform(LargestTrades)
    trades = [trade(at(i), 10.0, amount) for i, amount in enumerate([1.0, 3.0, 2.0, 3.0, 5.0])]
    events = columns(trades, FeatureConfig())
    expected = [{"timestamp": at(i), "amount": amount} for i, amount in ((0, 1.0), (1, 3.0), (4, 5.0))]
    assert as_dicts(gathered([advance(None, events)])["largest_trades"]) == expected
    assert as_dicts(gathered(in_chunks(events, range(1, len(events))))["largest_trades"]) == expected
    assert tables(FeatureConfig())[-1].name == "largest_trades"
    assert "largest_trades" not in gathered([advance(None, columns(trades, FeatureConfig(channels=("orderbook",))))])


@pytest.mark.usefixtures("restored")
def test_a_users_table_is_in_the_catalogue():
    register_transform(LargestTrades)
    entry = catalogue(FeatureConfig())[-1]
    assert (entry.table, entry.name, entry.unit.base, entry.inputs) == ("largest_trades", "amount", 1, "trades")
    text = catalogue_markdown(FeatureConfig())
    assert "## largest_trades" in text
    assert "| `amount` | The new record. | base | float64 | trades |" in text


@pytest.mark.usefixtures("restored")
def test_a_users_feature_is_a_column_of_the_table_of_its_input():
    @feature(unit="quote")
    def twice_the_mid(book: SampledBooks):
        """Twice mid_price."""
        return 2 * book.mid

    (row,) = as_dicts(gathered([advance(None, columns([quote(at(0), 1, 2), quote(at(1), 1, 2)], SMALL))])["orderbook"])
    assert row["twice_the_mid"] == 3.0
    assert catalogue(SMALL) != ()
    assert any(entry.name == "twice_the_mid" and entry.table == "orderbook" for entry in catalogue(SMALL))


@pytest.mark.usefixtures("restored")
def test_a_users_feature_of_updates_is_summed_and_changes_the_schema_of_the_state():
    events = columns(market(6, 60), SMALL)
    state = after(events)
    hot, ring, before = dump(state), state.history, schema_id()

    @feature(unit="1")
    def rises(book: BookUpdates):
        """Number of updates that raised the best bid."""
        return (book.price[0, 1:, 0] > book.price[0, :-1, 0]) * 1.0

    quotes = [quote(at(0.1 * i), bid, 9) for i, bid in enumerate([1, 2, 2, 3, 1])]
    whole = columns([*quotes, quote(at(1), 1, 2)], SMALL)
    for steps in ([advance(None, whole)], in_chunks(whole, range(1, len(whole)))):
        (row,) = as_dicts(gathered(steps)["orderbook"])
        assert row["rises"] == 2.0
    assert schema_id() != before
    with pytest.raises(SchemaError, match=f"state of schema {before}; this version has {schema_id()}"):
        load(hot, ring)


@pytest.mark.usefixtures("restored")
def test_a_users_transform_changes_the_schema_of_the_state_whatever_the_channels():
    before = schema_id()
    register_transform(LargestTrades)
    assert schema_id() != before
    state = after(columns(market(6, 60), FeatureConfig(channels=("orderbook",))))
    assert load(dump(state), state.history).params == state.params


@pytest.mark.usefixtures("restored")
def test_a_users_own_kind_of_input_has_features_for_a_table_of_its_own():
    class Spikes:
        """Trades of more than 10 base units."""

        table = "spikes"
        section = "trade"
        reads = "trades of more than 10 base units"
        remembers = "nothing"

        def __init__(self, amount):
            self.amount = amount

    def height(spikes):
        """Amount over 10."""
        return spikes.amount - 10

    feature(unit="base", inputs=(Spikes,))(height)  # type: ignore[arg-type]
    assert columns_of("spikes", FeatureConfig()) == (Column("height", "float64", "base"),)

    class SpikeTransform(LargestTrades):
        name = "spikes"

        def __init__(self, params):
            super().__init__(params)
            self.tables = (Table("spikes", "silver", columns_of("spikes", params)),)

    register_transform(SpikeTransform)
    (entry,) = (entry for entry in catalogue(FeatureConfig()) if entry.table == "spikes")
    assert (entry.meaning, entry.category, entry.inputs) == ("Amount over 10.", "trade", Spikes.reads)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": "Trades!"}, "'Trades!': a name is lower-case letters"),
        ({"channel": "trade"}, "channel 'trade' is none of orderbook, trades, ticker .nearest: trades"),
        ({"input": "trade"}, "input 'trade' is neither 'events' nor a table .* .nearest: trades"),
        ({"input": "orderbook"}, "its input orderbook is of channel orderbook, not trades"),
    ],
)
@pytest.mark.usefixtures("restored")
def test_a_transform_that_cannot_work_is_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        register_transform(variant(LargestTrades, **changes))


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (Table("bars", "gold", ()), "table bars is given by another transform"),
        (Table("events", "gold", ()), "'events' is no name for a table"),
        (Table("../x", "gold", ()), "'../x' is no name for a table"),
        (
            Table("mine", "bronze", ()),  # type: ignore[arg-type]
            "layer 'bronze' of table mine is not silver or gold",
        ),
        (Table("mine", "gold", (Column("seq", "int64", "1"),)), "table mine cannot have a column seq"),
        (Table("mine", "gold", (Column("a", "int64", "1"),) * 2), "table mine cannot have a column a"),
        (Table("mine", "gold", (Column("a", "int64", "furlong"),)), "unit 'furlong'"),
    ],
)
@pytest.mark.usefixtures("restored")
def test_a_table_that_cannot_be_stored_is_refused(table, complaint):
    class Wrong(LargestTrades):
        def __init__(self, params):
            super().__init__(params)
            self.tables = (table,)

    with pytest.raises(ValueError, match=complaint):
        register_transform(Wrong)
    assert "largest" not in [transform.name for transform in transforms(FeatureConfig())]


@pytest.mark.usefixtures("restored")
def test_a_state_that_cannot_be_written_as_bytes_is_refused():
    class Forgetful(EventCounts):
        def initial(self):
            return ["a list"]

    with pytest.raises(ValueError, match="transform counts: a state cannot hold a list"):
        register_transform(Forgetful)


@pytest.mark.usefixtures("restored")
def test_a_name_is_registered_once():
    register_transform(EventCounts)
    with pytest.raises(ValueError, match="transform counts is registered twice"):
        register_transform(EventCounts)


def test_a_transform_is_found_by_its_name_and_an_unknown_one_refused_with_the_nearest():
    assert TRANSFORMS["trade_bars"].channel == "trades"
    with pytest.raises(KeyError, match=r"no transform trade_bar \(nearest: trade_bars\)"):
        TRANSFORMS["trade_bar"]


def test_a_registry_stands_by_itself():
    mine = TransformRegistry()
    mine.register(EventCounts)
    assert [table.name for table in mine.tables(FeatureConfig())] == ["counts"]
    assert mine.classes == (EventCounts,)
    assert mine.transforms(FeatureConfig(channels=("trades",))) == ()


def test_a_transform_without_its_functions_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        register_transform(variant(BaseTransform, name="nothing", channel="trades"))  # type: ignore[type-abstract]
