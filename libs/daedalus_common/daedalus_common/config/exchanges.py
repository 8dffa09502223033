"""The exchanges that ccxt.pro 4.5.90 knows, without importing ccxt (109 MiB and 0.7 s on a Pi)."""

from typing import Final

EXCHANGES: Final[frozenset[str]] = frozenset(
    """
    alpaca apex aster backpack bequant binance binancecoinm binanceus binanceusdm bingx bitfinex bitget
    bithumb bitopro bitrue bitstamp bittrade bitvavo blockchaincom blofin bullish bybit bybiteu bybitid
    bydfi cex coinbase coinbaseexchange coinbaseinternational coincheck coinone cryptocom deepcoin
    deribit derive dydx extended gate gateeu gemini grvt hashkey hitbtc hollaex htx hyperliquid
    independentreserve kraken krakenfutures kucoin kucoinfutures lbank lighter luno mexc modetrade
    mudrex myokx nado ndax okx okxus onetrading p2b pacifica paradex phemex poloniex polymarket toobit
    upbit weex whitebit woo woofipro xt
    """.split()  # noqa: SIM905  a literal would be 76 lines long
)
"""The ids of `ccxt.pro.exchanges`; a test compares them with the installed version."""

ALIASES: Final[dict[str, str]] = {"coinbaseadvanced": "coinbase"}
"""Names that users know -> the id that ccxt has for them today. Paths and keys keep the user's name."""

NAMES: Final[frozenset[str]] = EXCHANGES | ALIASES.keys()
"""Every name that a configuration may use."""


def ccxt_id(name: str) -> str:
    """The ccxt id of an exchange by its configured name: `coinbaseadvanced` -> `coinbase`, all others unchanged."""
    return ALIASES.get(name, name)
