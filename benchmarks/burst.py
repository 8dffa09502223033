"""20,000 trades and 20,000 depth updates as fast as the socket takes them: what is recorded, and what a loop sees."""

import time
from typing import Any

from benchmarks.bare_watcher import Seen, bare_watcher
from benchmarks.completeness import check_whole, sent_count, sent_ids
from benchmarks.results import Aim, Measurement, Yardstick
from benchmarks.workbench import Workbench, seconds_until
from support.offline import bronze
from support.recording import partition_of
from support.stack import Simulator, Stack

SYMBOL = "BTC/USDT"
CONFIG: dict[str, Any] = {
    "ccxt": {"exchanges": {"binanceus": {"channels": {"watchOrderBook": [SYMBOL], "watchTrades": [SYMBOL]}}}}
}
BURST = 20_000
FLOWING = 20
EARLY_UPDATES = 1_000
"""Between a slow client's subscription and its snapshot, at 100 a second."""
ON_THE_WIRE_SECONDS = 1.0


def measure(bench: Workbench) -> list[Measurement]:
    bench.say("ccxt.pro alone, watch_order_book and watch_trades")
    seen = _seen_by_loops(bench)
    bench.say("the pipeline")
    updates, trades = _recorded(bench)
    return [
        _line("depth updates", updates, seen.books),
        _line("trades", trades, seen.trades),
    ]


def _line(what: str, recorded: int, seen: int) -> Measurement:
    return Measurement(
        f"burst of {2 * BURST:,} events: {what} recorded",
        recorded,
        "",
        Yardstick(seen, "seen by bare watch loops"),
        Aim(BURST, "at least", "value"),
    )


def _seen_by_loops(bench: Workbench) -> Seen:
    with bench.folder() as folder, Stack(folder, CONFIG) as stack:
        simulator = _simulator(stack)
        with bare_watcher(simulator.url, SYMBOL, "books", "trades") as watcher:
            _wait_for_both(simulator)
            watcher.count_anew()
            _burst(simulator)
            return watcher.stop()


def _recorded(bench: Workbench) -> tuple[int, int]:
    """How many updates and trades of the burst are in Bronze. Raises CheckFailed unless all that was sent is."""
    with bench.folder() as folder, Stack(folder, CONFIG) as stack:
        for name in ("writer", "featurizer"):
            stack.start(name)
        stack.wait_until(lambda: stack.lag("binanceus:BTC-USDT", "raw", "featurizer") == 0, "featurizer is there")
        simulator = _simulator(stack)
        stack.start("ingestor")
        _wait_for_both(simulator)
        sent = _burst(simulator)
        stack.stop_in_order()
        market = partition_of(SYMBOL)
        updates = bronze(stack.data, "orderbook", market)["nonce"].to_list()
        trades = [int(id_) for id_ in bronze(stack.data, "trades", market)["id"]]
        check_whole("depth updates", sent_ids(simulator, SYMBOL, "depth"), updates, EARLY_UPDATES)
        check_whole("trades", sent_ids(simulator, SYMBOL, "trade"), trades, 0)
    return _within(updates, sent["depth_ids"]), _within(trades, sent["trade_ids"])


def _within(ids: list[int], bounds: tuple[int, int]) -> int:
    first, last = bounds
    return sum(first <= id_ <= last for id_ in ids)


def _simulator(stack: Stack) -> Simulator:
    return stack.simulate("--symbols", SYMBOL, "--seed", "1", "--depth-rate", "100", "--depth-interval-ms", "0")


def _wait_for_both(simulator: Simulator) -> None:
    """Until both channels flow; then the market stands still."""
    seconds_until(
        lambda: all(sent_count(simulator, SYMBOL, channel) >= FLOWING for channel in ("depth", "trade")),
        "both channels flow", 60, 0.1,
    )  # fmt: skip
    time.sleep(ON_THE_WIRE_SECONDS)
    simulator.post("/control/pause")
    time.sleep(ON_THE_WIRE_SECONDS)


def _burst(simulator: Simulator) -> Any:
    """What the simulator says it sent."""
    sent = simulator.post("/control/burst", symbol=SYMBOL, trades=BURST, depth=BURST)
    time.sleep(ON_THE_WIRE_SECONDS)
    return sent
