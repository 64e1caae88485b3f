"""The fold takes few messages one by one and many as columns; nobody can tell from the outcome which it was."""

import json
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import example, given, settings, strategies as st

from tapehouse.market.events import Trade
from tapehouse.ports import Batch
from tapehouse.streaming import fold as folding
from tapehouse.streaming.columns import TRADE_COLUMNS, read_stream
from tapehouse.streaming.fold import JUMP_ALLOWANCE, Fold, Folded, residues
from tapehouse.streaming.ledgers import Ledgers
from tapehouse.streaming.rows import trade_columns
from tapehouse.streaming.view import to_trades

START = 1_723_161_240_000  # milliseconds
RECEIVED = START * 1000 + 1_000_000
MINUTE = 60_000_000


def trade_fields(trade_id: int, **changed) -> dict:
    at = START + trade_id * 7 if 0 <= trade_id < 10**6 else START
    fields = {"e": "trade", "E": at, "s": "BTCUSDT", "t": trade_id, "p": "61784.01", "q": "0.00045", "T": at, "m": True}
    return fields | changed


def frame(fields: dict) -> bytes:
    return json.dumps({"stream": "btcusdt@trade", "data": fields}).encode()


def usual(fields: dict) -> bytes:
    """The frame as the exchange writes it, to the letter."""
    return json.dumps({"stream": "btcusdt@trade", "data": fields | {"M": True}}, separators=(",", ":")).encode()


def batch(frames: list[bytes], **about) -> Batch:
    return Batch(frames=frames, received_at=[RECEIVED + place for place in range(len(frames))], **about)


def new_fold(symbols=("BTCUSDT", "ETHUSDT"), quantity_held=lambda _symbol, _first, _last: 0) -> Fold:
    return Fold(Ledgers(symbols), quantity_held, lambda _symbol, _opened: None)


def trades_of(folded: Folded) -> list[Trade]:
    columns = [trade for columns in folded.frames for trade in to_trades(columns)]
    return sorted([*columns, *(trade for trade, _ in folded.singles)], key=lambda t: (t.symbol, t.first_trade_id))


def payloads_of(folded: Folded) -> list[tuple[int, bytes]]:
    columns = [row for frame in folded.frames for row in frame.select("first_trade_id", "payload").iter_rows()]
    return sorted([*columns, *((trade.first_trade_id, payload) for trade, payload in folded.singles)])


def outcome(fold: Fold, folded: list[Folded]) -> dict:
    """Everything that follows from a fold, in no order but that of ids."""
    return {
        "trades": [trades_of(part) for part in folded],
        "payloads": [payloads_of(part) for part in folded],
        "rejected": [sorted((r.payload, r.reason, r.received_at) for r in part.rejected) for part in folded],
        "newly held": [{symbol: list(ranges) for symbol, ranges in part.held.items()} for part in folded],
        "held": {symbol: list(ledger.coverage.held) for symbol, ledger in fold._ledgers.items()},
        "candles": {symbol: ledger._candles for symbol, ledger in fold._ledgers.items()},
        "last": fold.last,
        "last traded": fold.last_traded_at,
    }


def take_by(path: str, batches: list[Batch]) -> dict:
    fold = new_fold()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "FEW", {"one by one": 10**9, "columns": -1}[path])
        return outcome(fold, [fold.take([each]) for each in batches])


ABSURD = {
    "s": ["ETHUSDT", "DOGEUSDT", "btcusdt", "", "B" * 300],
    "t": [-1, 10**15, 10**15 + 1, 2**63 - 1, 2**63, 2**64, JUMP_ALLOWANCE, JUMP_ALLOWANCE + 40, 3 * JUMP_ALLOWANCE],
    "p": ["0", "0.00000000", "-1", "NaN", "1.123456789", "1e5", "92233720368.54775808", "99999999999", "1\n", " 1", ""],
    "q": ["0", "-0.1", "Infinity", "0.000000001", "92233720368.54775807", "1.", ".1", "1_0", "0x1"],
    "T": [
        -1,
        0,
        1,
        START * 1000,
        START + 86_400_000,
        START + 172_800_000,
        10**14,
        2**62,
        -(2**62),
        2**64,
        4102444800000,
    ],
    "E": [-1, 0, START * 1000, START - 86_400_001, START + 172_800_000, -(2**63), 2**64],
    "m": [False],
}


@st.composite
def messages(draw):
    """Mostly good trades: duplicates, holes, late ones; among them what cannot be true."""
    trade_id = draw(st.integers(0, 40))
    fields = trade_fields(
        trade_id, p=f"{draw(st.integers(1, 99))}.5", q=draw(st.sampled_from(["0.1", "3", "0.00000001"]))
    )
    changed = draw(st.sampled_from([None, None, None, *ABSURD]))
    written = draw(st.sampled_from([usual, usual, usual, frame]))
    return written(fields | ({changed: draw(st.sampled_from(ABSURD[changed]))} if changed else {}))


KLINE = {"e": "kline", "s": "BTCUSDT", "k": {
    "t": START, "i": "1m", "f": 0, "L": 9, "o": "1", "c": "1", "h": "1", "l": "1", "v": "2", "n": 10, "x": True,
    "q": "2", "V": "1", "Q": "1"}}  # fmt: skip
beside = st.sampled_from([usual(KLINE), b"\xff", b'{"result":null,"id":1}', usual({"e": "depthUpdate"})])
"""Frames that are no trades."""


def wrapping_time() -> int:
    """Milliseconds below zero whose microseconds, cut to 64 bits, are a time of 2024."""
    wanted = START * 1000
    return (wanted // 8 * pow(125, -1, 2**61)) % 2**61 - 2**61


@settings(max_examples=200)
@given(st.lists(st.lists(messages() | beside, max_size=25), min_size=1, max_size=4))
@example([[frame(trade_fields(1, T=wrapping_time(), E=wrapping_time()))]])
@example([[frame(trade_fields(n, p=f"1000000000{n}", q="100000.0")) for n in (0, 1)]])
@example([[frame(trade_fields(0))], [frame(trade_fields(JUMP_ALLOWANCE + n)) for n in (3, 2, 1, 0, -1)]])
@example([[frame(trade_fields(1)), frame(trade_fields(3, T=START - 50_000)), frame(trade_fields(JUMP_ALLOWANCE + 9))]])
@example([[usual(trade_fields(n, s=["BTCUSDT", "DOGEUSDT"][n % 2])) for n in range(9)]])
@example([[usual(trade_fields(1)), frame(trade_fields(1, p="2"))], [frame(trade_fields(2)), usual(trade_fields(2))]])
def test_one_by_one_and_as_columns_the_same_is_accepted_refused_and_folded(batches):
    sent = [batch(frames) for frames in batches]
    assert take_by("columns", sent) == take_by("one by one", sent)


def test_trades_in_the_usual_form_are_read_as_text_and_none_when_one_of_them_is_written_otherwise():
    frames = [usual(trade_fields(n)) for n in range(9)]
    for others, read_as_text in [
        ([], 9),
        ([usual(KLINE), b"\xff"], 9),
        ([frame(trade_fields(9))], 0),
        ([usual(trade_fields(9, p="0"))], 0),
    ]:
        columns, messages = read_stream([batch(frames), batch(others)])
        assert columns.height == read_as_text
        assert columns.schema == pl.Schema(TRADE_COLUMNS)
        assert columns.height + len(messages.trades) + len(messages.klines) + len(messages.rejected) == 9 + len(others)
    columns, messages = read_stream([batch(frames), batch(frames[:1], binary=(0,))])
    assert (columns.height, len(messages.trades), len(messages.rejected)) == (0, 9, 1)


@given(st.permutations([frame(trade_fields(n)) for n in range(12)]), st.data())
def test_each_id_is_taken_once_however_often_and_in_whatever_order_it_comes(frames, data):
    fold = new_fold()
    again = [data.draw(st.sampled_from(frames)) for _ in range(8)]
    folded = [fold.take([batch(part)]) for part in (frames[:5], again[:4], frames[5:], again[4:], frames)]
    assert sorted(trade.first_trade_id for part in folded for trade in trades_of(part)) == list(range(12))
    assert sorted(payload for part in folded for _, payload in part.singles) == sorted(frames)
    assert sum(candle.trades for candle in fold._ledgers["BTCUSDT"]._candles.values()) == 12


def test_more_messages_than_few_are_folded_as_columns_and_fewer_one_by_one():
    for count, as_columns in [(folding.FEW, False), (folding.FEW + 1, True)]:
        folded = new_fold().take([batch([frame(trade_fields(n)) for n in range(count)])])
        assert bool(folded.frames) is as_columns
        assert len(trades_of(folded)) == count


def test_the_times_on_both_sides_of_a_hole_are_known_by_either_path():
    for few in (10**9, -1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(folding, "FEW", few)
            fold = new_fold()
            fold.take([batch([frame(trade_fields(n)) for n in (1, 2, 3)])])
            times = fold.take([batch([frame(trade_fields(n)) for n in (9, 10)])]).times
        assert times["BTCUSDT", 3] == (START + 21) * 1000
        assert times["BTCUSDT", 9] == (START + 63) * 1000


def test_an_id_may_jump_further_the_longer_nothing_came():
    fold = new_fold()
    fold.take([batch([frame(trade_fields(0))])])
    far = 15 * 10**6
    refused = fold.take([batch([frame(trade_fields(far, T=START + 4_000, E=START + 4_000))])])
    assert [(r.reason, r.topic) for r in refused.rejected] == [
        (f"a trade id that jumps from 0 to {far} in 4 s", "crypto-prices")
    ]
    taken = fold.take([batch([frame(trade_fields(far, T=START + 5_000, E=START + 5_000))])])
    assert [trade.first_trade_id for trade in trades_of(taken)] == [far]


def test_a_pattern_takes_the_symbols_that_fit_it_and_no_others():
    fold = new_fold(["*USDT"])
    frames = [frame(trade_fields(1, s=symbol)) for symbol in ("PEPEUSDT", "PEPEBTC", "pepeUSDT", "A/USDT")]
    folded = fold.take([batch(frames)])
    assert [trade.symbol for trade in trades_of(folded)] == ["PEPEUSDT"]
    assert [refused.reason for refused in folded.rejected] == ["a symbol that was not asked for"] * 3


# Klines


def kline_frame(**changed) -> bytes:
    fields = {
        "t": START, "T": START + 59_999, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 2, "o": "1", "c": "2", "h": "2",
        "l": "1", "v": "3", "n": 2, "x": True, "q": "5", "V": "1", "Q": "2", "B": "0",
    }  # fmt: skip
    return json.dumps(
        {"stream": "x", "data": {"e": "kline", "E": START, "s": "BTCUSDT", "k": fields | changed}}
    ).encode()


def test_only_closed_klines_are_taken_and_each_once():
    fold = new_fold()
    frames = [
        kline_frame(x=False),
        kline_frame(),
        kline_frame(),
        kline_frame(i="5m", t=START + 60_000),
        kline_frame(n=-2),
    ]
    folded = fold.take([batch(frames)])
    assert [(kline.interval, payload) for kline, payload in folded.klines] == [("1m", frames[1]), ("5m", frames[3])]
    assert [refused.payload for refused in folded.rejected] == [frames[4]]
    assert folded.rejected[0].topic == "klines"


def test_a_kline_of_a_symbol_nobody_asked_for_is_refused():
    frames = [kline_frame().replace(b'"s": "BTCUSDT", "k"', b'"s": "DOGEUSDT", "k"')]
    folded = new_fold().take([batch(frames)])
    assert [(r.reason, r.topic) for r in folded.rejected] == [("a symbol that was not asked for", "klines")]


def test_rest_klines_are_evidence_too():
    row = json.dumps([START, "1", "2", "1", "2", "3", START + 59_999, "5", 2, "1", "2", "0"]).encode()
    folded = new_fold().take([batch([row, b"[]"], shape="klines", symbol="BTCUSDT")])
    assert [(kline.has_ids, kline.candle.trades) for kline, _ in folded.klines] == [(False, 2)]
    assert [refused.payload for refused in folded.rejected] == [b"[]"]


# Aggregates


def aggregate(first: int, last: int, quantity: str, trade_id: int = 0) -> bytes:
    return json.dumps({"a": trade_id, "p": "2", "q": quantity, "f": first, "l": last, "T": START, "m": True}).encode()


@settings(max_examples=60)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.data())
def test_of_an_aggregate_exactly_what_is_not_held_is_added(quantities, data):
    trades = [frame(trade_fields(n, p="2", q=f"{quantity}", T=START, E=START)) for n, quantity in enumerate(quantities)]
    held = data.draw(st.sets(st.sampled_from(range(len(trades)))))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(trades)), max_size=3)) | {0, len(trades)})
    rows = [aggregate(a, b - 1, str(sum(quantities[a:b]))) for a, b in pairwise(cuts)]
    fold, earlier = new_fold(), []
    fold._quantity_held = lambda _s, first, last: sum(
        t.quantity for part in earlier for t in trades_of(part) if first <= t.first_trade_id <= last
    )
    earlier.append(fold.take([batch([trades[n] for n in sorted(held)])]))
    folded = fold.take([batch(rows, shape="aggTrades", symbol="BTCUSDT"), batch(trades)])
    new = [n for t in trades_of(folded) for n in range(t.first_trade_id, t.last_trade_id + 1)]
    assert sorted(new) == sorted(set(range(len(trades))) - held)
    assert (
        sum(t.quantity for t in trades_of(folded)) == sum(q for n, q in enumerate(quantities) if n not in held) * 10**8
    )
    [candle] = fold._ledgers["BTCUSDT"]._candles.values()
    assert (candle.trades, candle.volume) == (len(trades), sum(quantities) * 10**8)


def test_an_aggregate_smaller_than_what_is_held_of_it_is_refused_and_nothing_of_it_is_held():
    fold = new_fold()
    frames = [frame(trade_fields(n, p="2", q="5", T=START, E=START)) for n in (1, 3)]
    folded = fold.take([batch(frames), batch([aggregate(1, 4, "9")], shape="aggTrades", symbol="BTCUSDT")])
    assert [refused.reason for refused in folded.rejected] == [
        "an aggregate no larger than the trades held of a part of it"
    ]
    assert list(fold._ledgers["BTCUSDT"].coverage.held) == [(1, 1), (3, 3)]


def test_the_held_part_of_an_aggregate_is_found_where_it_came_as_columns():
    fold = new_fold()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "FEW", -1)
        frames = [frame(trade_fields(n, p="2", q="5", T=START, E=START)) for n in (1, 3)]
        folded = fold.take([batch(frames), batch([aggregate(1, 4, "17")], shape="aggTrades", symbol="BTCUSDT")])
    assert [(t.first_trade_id, t.last_trade_id, t.quantity) for t, _ in folded.singles] == [
        (2, 2, 7 * 10**8),
        (4, 4, 0),
    ]


def test_residues_keep_ids_and_sums():
    trade = Trade("BTCUSDT", 1, 9, 2, 100, "buy", 5, None, 6, "rest")
    parts = residues(trade, [(2, 3), (7, 7)], 40)
    assert [(part.first_trade_id, part.last_trade_id) for part in parts] == [(2, 3), (7, 7)]
    assert sum(part.quantity for part in parts) == 40


# What a back-fill brings


def test_columns_of_a_back_fill_are_taken_once_and_only_for_followed_symbols():
    fold, folded = new_fold(["BTCUSDT"]), Folded()
    trades = [Trade("BTCUSDT", n, n, 2, 3, "buy", RECEIVED, None, RECEIVED, "archive") for n in (4, 5, 6)]
    unknown = Trade("DOGEUSDT", 1, 1, 2, 3, "buy", RECEIVED, None, RECEIVED, "archive")
    columns = trade_columns([(trade, b"") for trade in [*trades, unknown]])
    fold.take_columns(columns, folded)
    fold.take_columns(columns.head(3), folded)
    fold.take_columns(pl.DataFrame(schema=TRADE_COLUMNS), folded)
    assert trades_of(folded) == trades
    assert [refused.reason for refused in folded.rejected] == ["a symbol that was not asked for"]


def test_an_absurd_product_is_refused_before_it_can_overflow_a_candle():
    frames = [frame(trade_fields(1, p="90000000000", q="90000000000"))] * 2 + [
        frame(trade_fields(2, p="10000000000", q="100000"))
    ]
    folded = new_fold().take([batch(frames)])
    assert [refused.payload for refused in folded.rejected] == frames[:2]
    assert [trade.first_trade_id for trade in trades_of(folded)] == [2]
