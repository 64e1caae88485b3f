"""A little market fed by hand into a real view and a real lake, and the real server over both."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx
import pytest

from tapehouse.api.main import create_app, serve
from tapehouse.catalog import CANDLES, COVERAGE, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.market.candles import Candle
from tapehouse.market.events import Kline, Trade
from tapehouse.market.fixed_point import to_units
from tapehouse.market.ledger import CandleRow, Ledger
from tapehouse.market.windows import INTERVALS, MINUTE, opened_at
from tapehouse.producers.binance.status import ConnectionStatus, SourceStatus
from tapehouse.producers.poll_status import PolledStatus
from tapehouse.settings import Settings
from tapehouse.streaming.rows import bronze_trades, silver_candles, silver_coverage, trade_columns
from tapehouse.streaming.view import LiveView, SymbolHealth

WRITER = "test"
PATIENCE = 10.0
MINUTES = 30


def now() -> int:
    return time.time_ns() // 1000


class Market:
    """Trades of a few symbols, numbered from 1; what is told is in the view at once, and in the lake by `commit`."""

    def __init__(self, lake: DeltaLake, symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")) -> None:
        self.lake = lake
        self.view = LiveView()
        self.ledgers = {symbol: Ledger(symbol) for symbol in symbols}
        self.view.attach(self.ledgers, {})
        self.connected = True
        self.error = ""
        self.heard_at = 0
        self.polled: list[PolledStatus] = []
        self.checked: dict[str, int] = dict.fromkeys(symbols, 0)
        self.differing: dict[str, int] = dict.fromkeys(symbols, 0)
        self._next_id = dict.fromkeys(symbols, 1)
        self._trades: list[Trade] = []
        self._candles: list[CandleRow] = []
        self._batch = 0

    def trade(self, price: str, quantity: str = "1", *, symbol: str = "BTCUSDT", at: int | None = None, side="buy"):
        first = self._next_id[symbol]
        self._next_id[symbol] += 1
        received = now()
        at = received if at is None else at
        return Trade(symbol, first, first, to_units(price), to_units(quantity), side, at, at, received, "stream")

    def skip(self, count: int, symbol: str = "BTCUSDT") -> None:
        """Let the exchange number trades that do not come."""
        self._next_id[symbol] += count

    def tell(self, *trades: Trade) -> None:
        """Fold the trades as the engine would, and show them."""
        for trade in trades:
            ledger = self.ledgers[trade.symbol]
            ledger.coverage.accept(trade.first_trade_id, trade.last_trade_id)
            ledger.add(opened_at(trade.traded_at, "1m"), trade.as_candle())
        self.settle(list(trades))

    def tell_kline(self, opened: int, symbol: str = "BTCUSDT") -> None:
        """Tell the exchange's own kline, equal to what is held; of an empty window that it was quiet."""
        ledger = self.ledgers[symbol]
        candle = ledger.summary("1m", opened)
        before = ledger.summary("1m", opened - MINUTE)
        flat = candle or before
        assert flat is not None
        ledger.tell(Kline(symbol, "1m", opened, candle, flat.close, now()))
        self.settle([])

    def settle(self, trades: list[Trade]) -> None:
        settled = [row for ledger in self.ledgers.values() for row in ledger.settle(now())]
        for ledger in self.ledgers.values():
            self.checked[ledger.symbol] += len(ledger.checks())
        self._trades += trades
        self._candles += settled
        self.view.publish([trades] if trades else [], settled)
        for symbol in self.ledgers:
            self.view.set_health(symbol, self.health(symbol))
        self.heard_at = now()

    def health(self, symbol: str) -> SymbolHealth:
        ledger, last = self.ledgers[symbol], self.view.last_trade(symbol)
        missing = ledger.coverage.missing()
        return SymbolHealth(
            last_trade_id=last.last_trade_id if last else -1,
            last_traded_at=last.traded_at if last else 0,
            last_received_at=last.received_at if last else 0,
            missing_trades=sum(end - start + 1 for start, end in missing),
            holes=len(missing),
            windows_overdue=len(ledger.unproved),
            checked_candles=self.checked[symbol],
            agreeing_candles=self.checked[symbol] - self.differing[symbol],
        )

    def commit(self) -> None:
        """Store what was told since the last commit."""
        self._batch += 1
        if self._trades:
            frame = bronze_trades(trade_columns([(trade, b"{}") for trade in self._trades]), keep_payload=True)
            self.lake.append(TRADES, frame, writer=WRITER, batch=self._batch)
        if self._candles:
            self.lake.append(CANDLES, silver_candles(self._candles), writer=WRITER, batch=self._batch)
        ranges = [(s, *held, "held") for s, ledger in self.ledgers.items() for held in ledger.coverage.held]
        ranges += [(s, *hole, "missing") for s, ledger in self.ledgers.items() for hole in ledger.coverage.missing()]
        if ranges:
            self.lake.append(COVERAGE, silver_coverage(ranges, now()), writer=WRITER, batch=self._batch)
        self._trades, self._candles = [], []
        self.view.committed_at = now()

    def status(self) -> list[SourceStatus | PolledStatus]:
        """Say of the feed what the Binance source would."""
        state = "open" if self.connected else "backing_off"
        connection = ConnectionStatus(
            name="binance-1",
            symbols=len(self.ledgers),
            state=state,
            endpoint="wss://stream.binance.com:9443",
            since=1,
            last_message_at=self.heard_at,
            attempts=1,
            last_error=self.error,
            stalled=(),
        )
        return [
            SourceStatus(
                name="binance",
                connections=(connection,),
                symbols=len(self.ledgers),
                stalled=(),
                stream_endpoint=connection.endpoint,
                rest_endpoint="https://api.binance.com",
                clock_offset=0.012,
                weight_used=22,
                weight_limit=6000,
                repairs_wait_for=0.0,
                last_error=self.error,
                notes=(),
            ),
            *self.polled,
        ]


@contextmanager
def serving(market: Market, *, port: int = 0, **settings: object) -> Iterator[str]:
    """Run the real server in a thread of its own; gives its address."""
    app = create_app(market.view, market.lake, market.status, Settings(**settings))
    ready = threading.Event()
    found: dict[str, object] = {}

    def on_ready(host: str, port: int) -> None:
        found["address"] = f"http://{host}:{port}"
        ready.set()

    async def run() -> None:
        found["task"], found["loop"] = asyncio.current_task(), asyncio.get_running_loop()
        await serve(app, "127.0.0.1", port, on_ready)

    def in_thread() -> None:
        try:
            asyncio.run(run())
        except asyncio.CancelledError:
            found["ended"] = True

    thread = threading.Thread(target=in_thread)
    thread.start()
    assert ready.wait(PATIENCE), "the server did not start"
    try:
        yield str(found["address"])
    finally:
        found["loop"].call_soon_threadsafe(found["task"].cancel)
        thread.join(PATIENCE)
    assert found.get("ended"), "the server did not end when cancelled"


@pytest.fixture
def market(tmp_path: Path) -> Market:
    lake = DeltaLake(str(tmp_path / "lake"))
    lake.create()
    return Market(lake)


@pytest.fixture(name="serving")
def serving_fixture() -> object:
    return serving


@pytest.fixture
def address(market: Market) -> Iterator[str]:
    with serving(market) as at:
        yield at


@pytest.fixture
def api(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address) as client:
        yield client


@pytest.fixture
def start() -> int:
    """Half an hour ago, at a full minute."""
    return opened_at(time.time_ns() // 1000, "1m") - MINUTES * MINUTE


@pytest.fixture
def told(market: Market, start: int) -> Market:
    """Half an hour of trades of two symbols that move alike, one price a minute, the first half stored."""
    for minute in range(MINUTES):
        at = start + minute * MINUTE
        price = 100 + (minute * 7) % 11
        market.tell(
            market.trade(f"{price}.1", "2", at=at, side="sell"),
            market.trade(f"{price}.3", "0.5", at=at + 1),
            market.trade(f"{price * 2}", "1", symbol="ETHUSDT", at=at),
        )
        if minute == MINUTES // 2:
            market.commit()
    return market


def make_restless(interval: str, count: int, symbol: str = "BTCUSDT") -> list[CandleRow]:
    """Candles up to now of a market whose moves are ten times as large at one time as at another."""
    random, close, rows, step = Random(symbol), 6_500_000_000_000, [], INTERVALS[interval]
    last = opened_at(time.time_ns() // 1000, interval)
    for place in range(count):
        before, size = close, 10 ** random.uniform(-4, -2.5) if place % 40 else 0.05
        close = round(close * math.exp(random.gauss(0, size)))
        edges = round(max(before, close) * 1.001), round(min(before, close) * 0.999)
        volume = random.randrange(1, 10**10)
        made = Candle(before, *edges, close, volume, volume * close, 1, 0, 0, place, place)
        opened = last - (count - place) * step
        rows.append(CandleRow(symbol, interval, opened, made, None, "closed", 1, 0))
    return rows


@pytest.fixture
def restless() -> Callable[..., list[CandleRow]]:
    return make_restless
