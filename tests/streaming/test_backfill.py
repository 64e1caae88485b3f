"""The past of a symbol: archives for whole days, REST for the rest, what is proved passed over, each id once."""

import hashlib
import io
import json
import zipfile
from datetime import date
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tapehouse.catalog import CANDLES, COVERAGE, REJECTED, TRADES
from tapehouse.errors import UpstreamError
from tapehouse.lake.history import highest_revisions
from tapehouse.market.candles import Candle
from tapehouse.market.ledger import CandleRow
from tapehouse.market.windows import DAY, MINUTE
from tapehouse.ports import Batch
from tapehouse.streaming.backfill import Backfill, Step, unproved
from tapehouse.streaming.rebuild import rebuild
from tapehouse.streaming.rows import silver_candles, silver_coverage, to_microseconds

SYMBOL = "BTCUSDT"
MIDNIGHT = to_microseconds(date(2024, 8, 6))
NOW = MIDNIGHT + 400 * DAY
EVERY = 40 * 1_000_000
"""Microseconds between two trades of the exchange here."""


class Exchange:
    """An exchange that numbers a trade every 40 seconds since 2024-08-05 from 5000 on, and tells of them over REST."""

    begun = MIDNIGHT - DAY
    first = 5000
    rows_at_once = 500

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.fails_after = 10**9

    def ids(self, start: int, end: int) -> range:
        """Return the ids of the trades of [start, end)."""
        return range(self.first + -(-(start - self.begun) // EVERY), self.first + -(-(end - self.begun) // EVERY))

    def trade(self, trade_id: int) -> dict:
        at = self.begun + (trade_id - self.first) * EVERY
        amounts = {"p": f"{1 + trade_id % 7}.5", "q": "0.1"}
        return {"a": trade_id, **amounts, "f": trade_id, "l": trade_id, "T": at // 1000, "m": trade_id % 2 == 0}

    async def history(self, symbol, start, end):
        self.asked.append(("history", start, end))
        ids = self.ids(start, end)
        for first in range(ids.start, ids.stop, self.rows_at_once):
            if self.fails_after <= 0:
                raise UpstreamError("the line is dead")
            self.fails_after -= 1
            rows = [self.trade(each) for each in range(first, min(first + self.rows_at_once, ids.stop))]
            yield _batch(rows, "aggTrades", symbol), min(rows[-1]["T"] * 1000, end)
        yield Batch(await self.klines(symbol, start, end), [end] * ((end - start) // MINUTE), "klines", symbol), end

    async def klines(self, _symbol, start, end):
        self.asked.append(("klines", start, end))
        return [self._kline(opened) for opened in range(start, end, MINUTE)]

    def _kline(self, opened: int) -> bytes:
        trades = [self.trade(each) for each in self.ids(opened, opened + MINUTE)]
        prices = [float(trade["p"]) for trade in trades]
        sums = [
            f"{sum(weight(trade) for trade in trades):.8f}"
            for weight in (
                lambda _trade: 0.1,
                lambda trade: 0.1 * float(trade["p"]),
                lambda trade: 0.1 * (not trade["m"]),
                lambda trade: 0.1 * float(trade["p"]) * (not trade["m"]),
            )
        ]
        amounts = [f"{price}" for price in (prices[0], max(prices), min(prices), prices[-1])]
        row = [opened // 1000, *amounts, sums[0], opened // 1000 + 59_999, sums[1], len(trades), sums[2], sums[3], "0"]
        return json.dumps(row).encode()

    def archive(self, day: date, *, without: int = 0, besides: tuple[str, ...] = ()) -> bytes:
        """Return the zip of a day; `without` is an id left out of it, `besides` lines nobody can believe."""
        start = to_microseconds(day)
        lines = [
            f"{trade['a']},{trade['p']},{trade['q']},1,{trade['T']},{trade['m']},True"
            for trade in map(self.trade, self.ids(start, start + DAY))
            if trade["a"] != without
        ]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as bundle:
            bundle.writestr("trades.csv", "\n".join([*lines, *besides]))
        return packed.getvalue()


def _batch(rows: list[dict], shape: str, symbol: str) -> Batch:
    return Batch([json.dumps(row).encode() for row in rows], [NOW] * len(rows), shape, symbol)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def archives(tmp_path):
    """A server of archives: its address and a function that puts one there."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    folder = tmp_path / "archives"
    folder.mkdir()

    def put(day: date, body: bytes) -> None:
        place = folder / "data" / "spot" / "daily" / "trades" / SYMBOL
        place.mkdir(parents=True, exist_ok=True)
        archive = place / f"{SYMBOL}-trades-{day}.zip"
        archive.write_bytes(body)
        archive.with_name(archive.name + ".CHECKSUM").write_text(hashlib.sha256(body).hexdigest())

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        put.address = f"http://127.0.0.1:{server.server_port}"
        yield put
        server.shutdown()
        thread.join()


@pytest.fixture
def fill(lake, start_engine, exchange, archives):
    """Fill a range as the command does: a normal start, the range, the end; return the steps that were told."""

    async def filling(start: int, end: int) -> list[Step]:
        steps: list[Step] = []
        engine = start_engine(lake)
        now = lambda: NOW  # noqa: E731  # a clock that stands
        try:
            desk = Backfill(lake, engine, exchange, archives=archives.address, now=now, tell=steps.append)
            await desk.fill(SYMBOL, start, end)
        finally:
            engine.close()
        return steps

    return filling


def ids_held(lake) -> list[int]:
    return lake.scan(TRADES).sort("first_trade_id").collect()["first_trade_id"].to_list()


def states(lake, interval: str = "1m") -> list[str]:
    rows = highest_revisions(lake.scan(CANDLES).filter(interval=interval)).sort("opened_at")
    return rows.collect()["state"].to_list()


async def test_a_whole_day_comes_from_its_archive_and_the_rest_over_rest(lake, fill, exchange, archives):
    archives(date(2024, 8, 6), exchange.archive(date(2024, 8, 6)))
    start, end = MIDNIGHT - 30 * MINUTE, MIDNIGHT + DAY + 10 * MINUTE
    steps = await fill(start, end)
    assert ids_held(lake) == list(exchange.ids(start, end))
    assert exchange.asked == [
        ("history", start, MIDNIGHT),
        ("klines", start, MIDNIGHT),
        ("klines", MIDNIGHT, MIDNIGHT + DAY),
        ("history", MIDNIGHT + DAY, end),
        ("klines", MIDNIGHT + DAY, end),
    ]
    assert states(lake) == ["closed"] * 1480
    assert states(lake, "1d") == ["gap", "closed"]
    told = [(step.day.day, step.source) for step in steps]
    assert list(dict.fromkeys(told)) == [(5, "REST"), (6, "download"), (6, "archive"), (7, "REST")]
    assert steps[0] == Step(SYMBOL, date(2024, 8, 5), "REST", steps[0].done, 30 * MINUTE)


async def test_a_day_without_an_archive_comes_over_rest(lake, fill, exchange):
    await fill(MIDNIGHT, MIDNIGHT + DAY)
    assert ids_held(lake) == list(exchange.ids(MIDNIGHT, MIDNIGHT + DAY))
    assert set(states(lake)) == {"closed"}


async def test_what_is_proved_is_not_asked_for_again(fill, exchange):
    await fill(MIDNIGHT, MIDNIGHT + 60 * MINUTE)
    exchange.asked.clear()
    assert await fill(MIDNIGHT, MIDNIGHT + 60 * MINUTE) == []
    assert exchange.asked == []
    await fill(MIDNIGHT, MIDNIGHT + 70 * MINUTE)
    assert exchange.asked[0] == ("history", MIDNIGHT + 60 * MINUTE, MIDNIGHT + 70 * MINUTE)


async def test_where_rest_dies_what_came_is_kept_and_the_next_run_brings_the_rest_once(lake, fill, exchange):
    exchange.fails_after = 2
    with pytest.raises(UpstreamError, match="the line is dead"):
        await fill(MIDNIGHT, MIDNIGHT + DAY)
    assert ids_held(lake) == list(exchange.ids(MIDNIGHT, MIDNIGHT + DAY))[: 2 * exchange.rows_at_once]
    exchange.fails_after = 10**9
    await fill(MIDNIGHT, MIDNIGHT + DAY)
    assert ids_held(lake) == list(exchange.ids(MIDNIGHT, MIDNIGHT + DAY))
    assert set(states(lake)) == {"closed"}


async def test_an_archive_that_lacks_a_trade_leaves_a_gap_that_rest_closes_at_the_next_run(
    lake, fill, exchange, archives
):
    lacking = exchange.ids(MIDNIGHT, MIDNIGHT + DAY)[1000]
    archives(date(2024, 8, 6), exchange.archive(date(2024, 8, 6), without=lacking))
    await fill(MIDNIGHT, MIDNIGHT + DAY)
    assert lacking not in ids_held(lake)
    assert sorted(set(states(lake))) == ["closed", "gap"]
    await fill(MIDNIGHT, MIDNIGHT + DAY)
    assert ids_held(lake) == list(exchange.ids(MIDNIGHT, MIDNIGHT + DAY))
    assert set(states(lake)) == {"closed"}


async def test_an_archives_line_that_cannot_be_true_is_kept_apart_with_its_bytes(lake, fill, exchange, archives):
    archives(date(2024, 8, 6), exchange.archive(date(2024, 8, 6), besides=("1,NaN,1,1,1722902400000,True,True",)))
    await fill(MIDNIGHT, MIDNIGHT + DAY)
    rejected = lake.scan(REJECTED).collect()
    assert rejected["payload"].to_list() == [b"1,NaN,1,1,1722902400000,True,True"]
    assert rejected["topic"].to_list() == ["crypto-prices"]
    assert ids_held(lake) == list(exchange.ids(MIDNIGHT, MIDNIGHT + DAY))


async def test_a_past_far_before_what_is_held_is_taken_and_what_lies_between_is_known_to_be_missing(
    lake, fill, exchange
):
    exchange.begun, far = MIDNIGHT - 400 * DAY, MIDNIGHT - 390 * DAY
    await fill(MIDNIGHT, MIDNIGHT + 10 * MINUTE)
    await fill(far, far + 10 * MINUTE)
    early, late = exchange.ids(far, far + 10 * MINUTE), exchange.ids(MIDNIGHT, MIDNIGHT + 10 * MINUTE)
    assert ids_held(lake) == [*early, *late]
    assert set(states(lake)[:10] + states(lake)[-10:]) == {"closed"}


async def test_a_symbol_that_was_silent_for_months_goes_on_however_far_its_ids_have_come(lake, fill, exchange):
    await fill(MIDNIGHT, MIDNIGHT + 10 * MINUTE)
    other = CandleRow("ETHUSDT", "1m", MIDNIGHT + 300 * DAY, Candle(*[1] * 11), None, "closed", 1, MIDNIGHT)
    lake.append(CANDLES, silver_candles([other]), writer="somebody", batch=0)
    lake.append(COVERAGE, silver_coverage([("ETHUSDT", 1, 1, "held")], NOW + DAY), writer="somebody", batch=0)
    start = MIDNIGHT + 200 * DAY
    exchange.first += 50_000_000
    await fill(start, start + 10 * MINUTE)
    assert lake.scan(REJECTED).collect()["reason"].to_list() == []
    assert ids_held(lake)[-1] == exchange.ids(start, start + 10 * MINUTE)[-1]
    written = lake.scan(CANDLES).filter(symbol=SYMBOL).select("interval", "opened_at", "revision").collect()
    assert written.is_unique().all()
    for first in (MIDNIGHT + 7 * DAY, start - 7 * DAY, start):
        [day] = rebuild(lake, SYMBOL, first, first + DAY, NOW + 2 * DAY)
        assert list(day.differing) == []


# What is still to be proved


def put_candles(lake, states_by_minute: dict[int, str], revision: int = 1, batch: int = 0) -> None:
    rows = [
        CandleRow(SYMBOL, "1m", MIDNIGHT + minute * MINUTE, Candle(*[1] * 11), None, state, revision, MIDNIGHT + DAY)
        for minute, state in states_by_minute.items()
    ]
    lake.append(CANDLES, silver_candles(rows), writer="test", batch=batch)


def spans(lake, start: int, end: int) -> list[tuple[float, float]]:
    found = unproved(lake, SYMBOL, (MIDNIGHT + int(start * MINUTE), MIDNIGHT + int(end * MINUTE)))
    return [((first - MIDNIGHT) / MINUTE, (last - MIDNIGHT) / MINUTE) for first, last in found]


def test_runs_of_windows_that_are_not_proved_are_found(lake):
    put_candles(lake, {minute: "gap" if minute in {3, 4, 7} else "closed" for minute in range(20)} | {9: "quiet"})
    assert spans(lake, 0, 20) == [(3, 5), (7, 8)]
    assert spans(lake, 4, 7) == [(4, 5)]
    assert spans(lake, 10, 20) == []
    assert spans(lake, 18, 22) == [(20, 22)]


def test_where_most_is_not_proved_the_whole_span_is_taken_at_once(lake):
    assert spans(lake, 0, 1440) == [(0, 1440)]
    put_candles(lake, dict.fromkeys(range(5), "closed"))
    assert spans(lake, 0, 20) == [(0, 20)]
    assert spans(lake, 0, 10) == [(5, 10)]


def test_parts_of_minutes_are_whole_minutes(lake):
    assert spans(lake, 0.5, 1.5) == [(0, 2)]


def test_the_highest_revision_decides(lake):
    put_candles(lake, dict.fromkeys(range(10), "closed"))
    put_candles(lake, {4: "gap"}, revision=2, batch=1)
    assert spans(lake, 0, 10) == [(4, 5)]
    put_candles(lake, {4: "closed"}, revision=3, batch=2)
    assert spans(lake, 0, 10) == []
