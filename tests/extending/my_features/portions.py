"""For tests: the rows that events give when they come in portions, with the state written and read in between."""

from daedalus_features import Events, MarketState, advance, dump, load


def rows_in_portions(events: Events, cuts: list[int]) -> dict[str, list[list[float]]]:
    """Rows by table, each a list of its timestamp and its values; `cuts` are places in the sequence, ascending."""
    state: MarketState | None = None
    rows: dict[str, list[list[float]]] = {}
    for begin, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        step = advance(state, events.part(begin, end))
        for each in step.rows:
            lines = zip(each.timestamp.tolist(), each.values.tolist(), strict=True)
            rows.setdefault(each.table.name, []).extend([timestamp, *values] for timestamp, values in lines)
        state = None if step.state is None else load(dump(step.state), step.state.history)
    return rows
