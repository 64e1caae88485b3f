"""Binance's messages, letter by letter, and the one step from each to the domain. Any bytes at all give a value.

{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161254531,"s":"BTCUSDT","t":3716230411,"p":"61784.01000000",
 "q":"0.00045000","T":1723161254530,"m":true,"M":true}}
{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":..,"s":"BTCUSDT","k":{"t":1723161240000,"T":1723161299999,
 "s":"BTCUSDT","i":"1m","f":3716229867,"L":3716230721,"o":"..","c":"..","h":"..","l":"..","v":"..","n":855,
 "x":true,"q":"..","V":"..","Q":"..","B":"0"}}}
"""

from collections.abc import Sequence

import msgspec

from tapehouse import catalog
from tapehouse.market.candles import Candle
from tapehouse.market.events import Kline, TakerSide, Trade
from tapehouse.market.fixed_point import sum_to_units, to_units
from tapehouse.market.windows import DAY, INTERVALS, opened_at

TRADES_TOPIC = catalog.TRADES_TOPIC
KLINES_TOPIC = catalog.KLINES_TOPIC
MICROSECONDS_FROM = 10**14
"""Times below are milliseconds (until the year 5138), times above microseconds (since 1973)."""
EARLIEST = 1_230_768_000_000_000
LATEST = 4_102_444_800_000_000
"""Trades lie between 2009 and 2100, in microseconds."""
LARGEST_TRADE_ID = 10**12
LARGEST_NOTIONAL = 10**31
"""A price times quantity above (10^15 of any currency) cannot be true; a day of trades below fits 38 digits."""
NOTIONAL_UNITS = 10**8
"""From eight decimals, as Binance writes quote volumes, to the sixteen of a notional."""
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class TradeMessage(msgspec.Struct, tag_field="e", tag="trade", gc=False):
    """One trade of the `@trade` stream."""

    E: int  # event time
    s: str  # symbol
    t: int  # trade id
    p: str  # price
    q: str  # quantity
    T: int  # trade time
    m: bool  # the buyer was the maker, so the taker sold

    def to_trade(self, received_at: int) -> Trade:
        """Return the trade; raise ValueError when it cannot be true."""
        return _trade(
            Trade(
                symbol=self.s,
                first_trade_id=self.t,
                last_trade_id=self.t,
                price=to_units(self.p),
                quantity=to_units(self.q),
                taker_side=taker_side(buyer_is_maker=self.m),
                traded_at=to_microseconds(self.T),
                event_at=to_microseconds(self.E),
                received_at=received_at,
                source="stream",
            )
        )


class KlineFields(msgspec.Struct, gc=False):
    """The candle inside a kline message."""

    t: int  # window opened
    i: str  # interval
    f: int  # first trade id, -1 without trades
    L: int  # last trade id, -1 without trades
    o: str  # open
    h: str  # high
    l: str  # noqa: E741  # low, as Binance writes it
    c: str  # close
    v: str  # volume
    q: str  # quote volume
    n: int  # number of trades
    V: str  # taker buy volume
    Q: str  # taker buy quote volume
    x: bool  # closed


class KlineMessage(msgspec.Struct, tag_field="e", tag="kline", gc=False):
    """One update of a `@kline_<interval>` stream."""

    s: str  # symbol
    k: KlineFields

    def to_kline(self, received_at: int) -> Kline:
        """Return the closed kline; raise ValueError when it cannot be true."""
        k = self.k
        texts = (k.o, k.h, k.l, k.c, k.v, k.q, k.V, k.Q)
        return _kline(self.s, k.i, to_microseconds(k.t), texts, k.n, (k.f, k.L), received_at)


class StreamMessage(msgspec.Struct, gc=False):
    """A message of a combined stream."""

    data: TradeMessage | KlineMessage


class HistoricalTrade(msgspec.Struct, gc=False):
    """A row of `/api/v3/trades` and `/api/v3/historicalTrades`."""

    id: int
    price: str
    qty: str
    time: int
    isBuyerMaker: bool  # noqa: N815  # as Binance writes it

    def to_trade(self, symbol: str, received_at: int) -> Trade:
        """Return the trade; raise ValueError when it cannot be true."""
        side = taker_side(buyer_is_maker=self.isBuyerMaker)
        return _rest_trade(symbol, (self.id, self.id), (self.price, self.qty), side, self.time, received_at)


class AggregateTrade(msgspec.Struct, gc=False):
    """A row of `/api/v3/aggTrades`: the trades f..l of one taker order at one price and time."""

    a: int  # the aggregate's own id
    p: str  # price
    q: str  # quantity, the sum
    f: int  # first trade id
    l: int  # noqa: E741  # last trade id, as Binance writes it
    T: int  # trade time
    m: bool  # the buyer was the maker, so the taker sold

    def to_trade(self, symbol: str, received_at: int) -> Trade:
        """Return the trades as one; raise ValueError when they cannot be true."""
        side = taker_side(buyer_is_maker=self.m)
        return _rest_trade(symbol, (self.f, self.l), (self.p, self.q), side, self.T, received_at)


def taker_side(*, buyer_is_maker: bool) -> TakerSide:
    """Return who took: when the buyer was the maker, the taker sold."""
    return "sell" if buyer_is_maker else "buy"


def to_microseconds(time: int) -> int:
    """Read a time in milliseconds or microseconds; raise ValueError outside 2009..2100."""
    microseconds = time * 1000 if time < MICROSECONDS_FROM else time
    if not EARLIEST <= microseconds < LATEST:
        raise ValueError(f"time out of range: {time}")
    return microseconds


def rest_kline(symbol: str, interval: str, row: bytes, received_at: int) -> Kline:
    """Read a row of `/api/v3/klines`, which tells no trade ids; raise ValueError when it cannot be one."""
    try:
        opened, o, h, low, c, v, _, q, n, bought, bought_quote, *_ = msgspec.json.decode(row, type=_KlineRow)
    except UNREADABLE as error:
        raise ValueError(f"not a kline: {error}") from error
    return _kline(
        symbol, interval, to_microseconds(opened), (o, h, low, c, v, q, bought, bought_quote), n, None, received_at
    )


_KlineRow = tuple[int, str, str, str, str, str, int, str, int, str, str, str]


def _rest_trade(
    symbol: str, ids: tuple[int, int], amounts: tuple[str, str], side: TakerSide, time: int, received_at: int
) -> Trade:
    price, quantity = to_units(amounts[0]), to_units(amounts[1])
    return _trade(Trade(symbol, *ids, price, quantity, side, to_microseconds(time), None, received_at, "rest"))


def _trade(trade: Trade) -> Trade:
    if not 0 <= trade.first_trade_id <= trade.last_trade_id <= LARGEST_TRADE_ID:
        raise ValueError(f"trade ids out of range: {trade.first_trade_id}..{trade.last_trade_id}")
    if trade.price == 0 or trade.quantity == 0:
        raise ValueError("a price or quantity of zero")
    if trade.price * trade.quantity > LARGEST_NOTIONAL:
        raise ValueError("a price times quantity that no decimal of a candle could hold")
    if trade.traded_at > trade.received_at + DAY:
        raise ValueError("traded more than a day after it was received")
    if trade.event_at is not None and abs(trade.event_at - trade.traded_at) > DAY:
        raise ValueError("traded more than a day away from its event time")
    return trade


def _kline(
    symbol: str,
    interval: str,
    opened: int,
    texts: Sequence[str],
    trades: int,
    ids: tuple[int, int] | None,
    received_at: int,
) -> Kline:
    if interval not in INTERVALS or opened != opened_at(opened, interval):
        raise ValueError(f"not a window of an interval: {interval[:8]} {opened}")
    o, h, low, c = map(to_units, texts[:4])
    v, q, bought, bought_quote = map(sum_to_units, texts[4:])
    if trades == 0:
        return Kline(symbol, interval, opened, None, c, received_at, ids is not None)
    first, last = ids or (-1, -1)
    if trades < 0 or (ids is not None and not 0 <= first <= last <= LARGEST_TRADE_ID):
        raise ValueError(f"not a count and range of trades: {trades}, {first}..{last}")
    quote_units, bought_quote_units = q * NOTIONAL_UNITS, bought_quote * NOTIONAL_UNITS
    candle = Candle(o, h, low, c, v, quote_units, trades, bought, bought_quote_units, first, last)
    return Kline(symbol, interval, opened, candle, c, received_at, ids is not None)
