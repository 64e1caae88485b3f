"""The messages of the streams, letter by letter as Binance writes them, a column at a time.

Times are milliseconds, or microseconds for a client that asked with `timeUnit=MICROSECOND`.
"""

from collections.abc import Iterable, Sequence

import polars as pl

from tapehouse.market.candles import Candle
from tapehouse.market.fixed_point import NOTIONAL_SCALE, PRICE_SCALE
from tapehouse.market.windows import INTERVALS

_TEXT_FRAME = 0x81
_SHORT, _MEDIUM = 126, 65536
_LONGEST_TABLED = 1024
_ONE_UNIT = pl.lit("0.00000001").cast(pl.Decimal(38, PRICE_SCALE))


def frame_of(payload: bytes, first_byte: int = _TEXT_FRAME) -> bytes:
    """Return a WebSocket frame from the server (not masked) that holds the payload."""
    size = len(payload)
    if size < _SHORT:
        return bytes((first_byte, size)) + payload
    if size < _MEDIUM:
        return bytes((first_byte, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first_byte, 127)) + size.to_bytes(8, "big") + payload


_HEADS = pl.Series([frame_of(b"x" * size)[:-size].decode("latin-1") if size else "" for size in range(_LONGEST_TABLED)])
"""The bytes before a payload of each size, written as the characters of the same numbers."""


def frames_of(texts: pl.Series) -> bytes:
    """Return the frames of a column of short ASCII texts in one piece.

    They are joined as text in which every character stands for the byte of its number (ISO 8859-1): joining
    in Polars spares an object of Python for each message.
    """
    if not len(texts):
        return b""
    column = pl.lit(texts)
    framed = pl.concat_str(pl.lit(_HEADS).gather(column.str.len_bytes()), column)
    joined: str = pl.select(framed.str.join("")).item()
    return joined.encode("latin-1")


def frames_of_all(texts: Iterable[str]) -> bytes:
    """Return the frames of a few texts in one piece."""
    return b"".join(frame_of(text.encode()) for text in texts)


class TradeWriter:
    """Writes the trades and aggregates of a tape's symbols as stream messages."""

    def __init__(self, symbols: Sequence[str], *, combined: bool, microseconds: bool) -> None:
        self._divisor = 1 if microseconds else 1000
        self._end = "}}" if combined else "}"
        self._trade_heads = _heads(symbols, "trade", combined=combined)
        self._aggregate_heads = _heads(symbols, "aggTrade", combined=combined)
        self._names = pl.Series([f',"s":"{symbol}",' for symbol in symbols])

    def trades(self, rows: pl.DataFrame, skew: int = 0) -> pl.Series:
        """Return a `trade` message for each row of one trade; `skew` microseconds are added to the event time."""
        identity = ('"t":', pl.col("first_trade_id").cast(pl.String))
        single = rows.filter(pl.col("first_trade_id") == pl.col("last_trade_id"))
        return self._written(single, self._trade_heads, identity, (), skew)

    def aggregates(self, rows: pl.DataFrame, skew: int = 0) -> pl.Series:
        """Return an `aggTrade` message for each aggregate of the rows."""
        identity = ('"a":', pl.col("aggregate_id").cast(pl.String))
        ids = (',"f":', pl.col("first_trade_id").cast(pl.String), ',"l":', pl.col("last_trade_id").cast(pl.String))
        return self._written(aggregated(rows), self._aggregate_heads, identity, ids, skew)

    def _written(
        self,
        rows: pl.DataFrame,
        heads: pl.Series,
        identity: tuple[str, pl.Expr],
        ids: tuple[str | pl.Expr, ...],
        skew: int,
    ) -> pl.Series:
        code = pl.col("symbol").to_physical()
        traded = _time_text(rows["traded_at"] // self._divisor)
        event = _time_text((rows["traded_at"] + skew) // self._divisor) if skew else traded
        parts: tuple[str | pl.Expr, ...] = (
            pl.lit(heads).gather(code), event, pl.lit(self._names).gather(code), *identity,
            ',"p":"', decimal_text("price"), '","q":"', decimal_text("quantity"), '"', *ids, ',"T":', traded,
            pl.when(pl.col("buyer_is_maker"))
            .then(pl.lit(f',"m":true,"M":true{self._end}'))
            .otherwise(pl.lit(f',"m":false,"M":true{self._end}')),
        )  # fmt: skip
        return rows.select(text=pl.concat_str(pl.lit(part) if isinstance(part, str) else part for part in parts))[
            "text"
        ]


def _time_text(times: pl.Series) -> pl.Expr:
    """Return the times as text; where many share few times, each is written once."""
    first, last = times.min(), times.max()
    if not isinstance(first, int) or not isinstance(last, int) or last - first >= len(times):
        return pl.lit(times.cast(pl.String))
    written = pl.int_range(first, last + 1, eager=True).cast(pl.String)
    return pl.lit(written).gather(pl.lit(times - first))


def _heads(symbols: Sequence[str], event: str, *, combined: bool) -> pl.Series:
    def head(symbol: str) -> str:
        opening = f'{{"stream":"{symbol.lower()}@{event}","data":' if combined else ""
        return f'{opening}{{"e":"{event}","E":'

    return pl.Series([head(symbol) for symbol in symbols])


def aggregated(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the aggregates the rows make, in order; an aggregate has one price, side and time."""
    return rows.group_by("symbol", "aggregate_id", maintain_order=True).agg(
        pl.col("first_trade_id").first(),
        pl.col("last_trade_id").last(),
        pl.col("price", "buyer_is_maker", "traded_at").first(),
        pl.col("quantity").sum(),
    )


def decimal_text(column: str) -> pl.Expr:
    """Return units of 10^-8 as the exchange writes them: with all eight decimals."""
    return (pl.col(column).cast(pl.Decimal(38, 0)) * _ONE_UNIT).cast(pl.String)


def price_text(units: int) -> str:
    """Return one number of units of 10^-8 with all eight decimals."""
    return f"{units // 10**PRICE_SCALE}.{units % 10**PRICE_SCALE:08d}"


def notional_text(units: int) -> str:
    """Return one number of units of 10^-16 with the eight decimals Binance gives of a quote volume."""
    return price_text(units // 10 ** (NOTIONAL_SCALE - PRICE_SCALE))


def kline_text(
    symbol: str,
    interval: str,
    opened: int,
    candle: Candle | None,
    close: int,
    *,
    event: int,
    closed: bool,
    divisor: int,
) -> str:
    """Return the `kline` message of a window; `candle` None is a window without trades, flat at `close`."""
    shown = candle or Candle(close, close, close, close, 0, 0, 0, 0, 0, -1, -1)
    last = (opened + INTERVALS[interval]) // divisor - 1
    return (
        f'{{"e":"kline","E":{event // divisor},"s":"{symbol}","k":{{"t":{opened // divisor},"T":{last},"s":"{symbol}",'
        f'"i":"{interval}","f":{shown.first_trade_id},"L":{shown.last_trade_id},"o":"{price_text(shown.open)}",'
        f'"c":"{price_text(shown.close)}","h":"{price_text(shown.high)}","l":"{price_text(shown.low)}",'
        f'"v":"{price_text(shown.volume)}","n":{shown.trades},"x":{"true" if closed else "false"},'
        f'"q":"{notional_text(shown.quote_volume)}","V":"{price_text(shown.taker_buy_volume)}",'
        f'"Q":"{notional_text(shown.taker_buy_quote_volume)}","B":"0"}}}}'
    )


def combined_text(stream: str, message: str) -> str:
    """Return a message as the combined streams wrap it."""
    return f'{{"stream":"{stream}","data":{message}}}'
