"""The REST side as a raw client sees it: answers, and errors in Binance's form."""

import time

import pytest

from simulator.harness import simulator


async def test_ping_and_time_answer(sim):
    assert await sim.get("/api/v3/ping") == {}
    assert abs((await sim.get("/api/v3/time"))["serverTime"] - time.time() * 1000) < 5000


async def test_exchange_info_lists_all_or_the_asked_symbols(sim):
    def ids(info):
        return [symbol["symbol"] for symbol in info["symbols"]]

    assert ids(await sim.get("/api/v3/exchangeInfo")) == ["BTCUSDT", "ETHUSDT"]
    assert ids(await sim.get("/api/v3/exchangeInfo", symbol="ETHUSDT")) == ["ETHUSDT"]
    assert ids(await sim.get("/api/v3/exchangeInfo", symbols='["ETHUSDT","BTCUSDT"]')) == ["ETHUSDT", "BTCUSDT"]


@pytest.mark.parametrize(("exchange", "weight"), [("binanceus", 1200), ("binance", 6000)])
async def test_the_announced_rate_limit_is_the_exchanges(exchange, weight):
    async with simulator("--exchange", exchange) as sim:
        assert (await sim.get("/api/v3/exchangeInfo"))["rateLimits"][0]["limit"] == weight


async def test_depth_has_as_many_levels_as_asked_best_first(sim):
    await sim.control("pause")
    book = await sim.depth("BTCUSDT", limit=5)
    bids, asks = ([float(price) for price, _ in book[side]] for side in ("bids", "asks"))
    assert len(bids) == len(asks) == 5
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < asks[0]
    assert len((await sim.get("/api/v3/depth", symbol="BTCUSDT"))["bids"]) == 100
    assert len((await sim.depth("BTCUSDT"))["bids"]) > 900


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("depth", {}, 400, -1102),
        ("depth", {"symbol": ""}, 400, -1102),
        ("depth", {"symbol": "XYZUSDT"}, 400, -1121),
        ("depth", {"symbol": "btcusdt"}, 400, -1121),
        ("depth", {"symbol": "BTCUSDT", "limit": "many"}, 400, -1100),
        ("depth", {"symbol": "BTCUSDT", "limit": "0"}, 400, -1100),
        ("depth", {"symbol": "BTCUSDT", "limit": "5001"}, 400, -1100),
        ("exchangeInfo", {"symbol": "XYZUSDT"}, 400, -1121),
        ("ticker/24hr", {"symbol": "BTCUSDT"}, 404, -1000),
        ("account", {}, 404, -1000),
    ],
)
async def test_what_cannot_be_answered_is_an_error_of_the_exchange(sim, path, query, status, code):
    answered, body, _ = await sim.status_of(f"/api/v3/{path}", **query)
    assert (answered, body["code"]) == (status, code)
    assert body["msg"]


async def test_every_health_endpoint_answers(sim):
    for path in ("/healthz", "/readyz"):
        assert await sim.get(path) == {"status": "ok", "source": "synthetic"}
