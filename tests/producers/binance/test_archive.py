"""Archives of a day: brought with proof, read in pieces, each line taken or given back."""

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given, strategies as st

from tapehouse.errors import UpstreamError
from tapehouse.producers.binance import archive as archive_module
from tapehouse.producers.binance.archive import archive_url, download, read_trades
from tapehouse.streaming.columns import TRADE_COLUMNS

DAY = date(2024, 8, 9)
AT = 1_723_161_600_000
RECEIVED = 1_800_000_000_000_000
HEADER = b"id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch"


def line(trade_id: int, *, price="61700.01", quantity="0.5", at: int | str = AT, maker="True") -> bytes:
    return f"{trade_id},{price},{quantity},30850.005,{at},{maker},True".encode()


def zipped(*members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as bundle:
        for number, member in enumerate(members):
            bundle.writestr(f"{number}.csv", member)
    return packed.getvalue()


@pytest.fixture
def read(tmp_path):
    """Read a CSV as an archive; return (columns, lines given back)."""

    def reading(text: bytes) -> tuple[pl.DataFrame, list[bytes]]:
        path = tmp_path / "trades.zip"
        path.write_bytes(zipped(text))
        pieces = list(read_trades(path, "BTCUSDT", RECEIVED))
        return pl.concat([columns for columns, _ in pieces]), [each for _, refused in pieces for each in refused]

    return reading


def test_a_line_becomes_a_trade_with_every_digit(read):
    columns, refused = read(b"\n".join([line(7, price="0.00000001", quantity="92233720368.54775807"), b""]))
    assert dict(columns.schema) == TRADE_COLUMNS
    assert columns.row(0, named=True) == {
        "symbol": "BTCUSDT",
        "first_trade_id": 7,
        "last_trade_id": 7,
        "price": Decimal("0.00000001"),
        "quantity": Decimal("92233720368.54775807"),
        "taker_side": "sell",
        "traded_at": AT * 1000,
        "event_at": None,
        "received_at": RECEIVED,
        "source": "archive",
        "payload": line(7, price="0.00000001", quantity="92233720368.54775807"),
    }
    assert refused == []


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("head", [[], [HEADER]], ids=["bare", "with a header"])
@pytest.mark.parametrize("last", [b"", b"\n"], ids=["cut at the end", "ended"])
def test_headers_endings_and_the_last_line_make_no_difference(read, head, ending, last):
    lines = [line(1, maker="true"), line(2, maker="FALSE"), line(3, at=AT * 1000 + 7)]
    columns, refused = read(ending.join([*head, *lines]) + last.replace(b"\n", ending))
    assert columns["payload"].to_list() == lines
    assert columns["taker_side"].to_list() == ["sell", "buy", "sell"]
    assert columns["traded_at"].to_list() == [AT * 1000, AT * 1000, AT * 1000 + 7]
    assert refused == []


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"garbage",
        b"\xff\xfe,1,1,1,1,True,True",
        line(-1),
        line(10**15 + 1),
        line(2**64),
        line(1, price="0"),
        line(1, price="-1"),
        line(1, price="NaN"),
        line(1, price="1e5"),
        line(1, price="1.123456789"),
        line(1, price="92233720368.54775808"),
        line(1, price="90000000000", quantity="90000000000"),
        line(1, quantity="0.00000000"),
        line(1, quantity=""),
        line(1, at=0),
        line(1, at=-(2**62)),
        line(1, at="yesterday"),
        line(1, at=AT + 3 * 365 * 86_400_000),
        line(1, maker="maybe"),
        b'1,"61700.01",1,1,1723161600000,True,True',
        b"1,61700.01",
    ],
)
def test_a_line_that_cannot_be_true_is_given_back_and_the_others_are_taken(read, wrong):
    columns, refused = read(b"\n".join([line(1), wrong, line(2)]))
    assert columns["first_trade_id"].to_list() == [1, 2]
    assert refused == [wrong] * bool(wrong)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.integers(1, 200))
def test_in_pieces_of_any_size_no_line_is_lost_torn_or_doubled(tmp_path_factory, ids, piece):
    path = tmp_path_factory.mktemp("archive") / "trades.zip"
    path.write_bytes(zipped(b"".join(line(each) + b"\r\n" for each in ids)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_module, "PIECE", piece)
        pieces = list(read_trades(path, "BTCUSDT", RECEIVED))
    assert [row for columns, _ in pieces for row in columns["first_trade_id"]] == ids
    assert [row for columns, _ in pieces for row in columns["payload"]] == [line(each) for each in ids]
    assert all(refused == [] for _, refused in pieces)


def test_what_is_no_archive_is_an_upstream_error(tmp_path):
    whole = zipped(line(1) * 100)
    spoiled = whole[:60] + b"\x00" + whole[61:]
    path = tmp_path / "trades.zip"
    for wrong in (b"", b"<html>", whole[: len(whole) // 2], zipped(), spoiled):
        path.write_bytes(wrong)
        with pytest.raises(UpstreamError, match=r"trades.zip is not an archive of trades"):
            list(read_trades(path, "BTCUSDT", RECEIVED))


def test_a_compressed_part_that_is_damaged_is_an_upstream_error(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("trades.csv", b"\n".join(map(line, range(1000))))
    body = bytearray(packed.getvalue())
    body[100:140] = b"\xff" * 40
    path = tmp_path / "trades.zip"
    path.write_bytes(body)
    with pytest.raises(UpstreamError, match=r"trades.zip is not an archive of trades"):
        list(read_trades(path, "BTCUSDT", RECEIVED))


# Bringing them


class _Files(SimpleHTTPRequestHandler):
    """Serves a folder; says more than it sends of files named `short`."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def end_headers(self) -> None:
        if "short" in self.path and not self.path.endswith(".CHECKSUM"):
            self.send_header("Connection", "close")
        super().end_headers()

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Content-Length" and "short" in self.path and not self.path.endswith(".CHECKSUM"):
            value = str(int(value) + 100)
        super().send_header(keyword, value)


@pytest.fixture
def served(tmp_path) -> Iterator[SimpleNamespace]:
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield SimpleNamespace(folder=folder, url=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "brought.zip"


def put(served: SimpleNamespace, name: str, body: bytes, checksum: str | None = None) -> str:
    (served.folder / name).write_bytes(body)
    told = hashlib.sha256(body).hexdigest() if checksum is None else checksum
    (served.folder / f"{name}.CHECKSUM").write_text(f"{told}  {name}\n" if told else "")
    return f"{served.url}/{name}"


def quietly(_came: int, _whole: int) -> None:
    """Tell nobody."""


def test_the_address_is_that_of_the_exchange():
    assert (
        archive_url("https://data.binance.vision/", "BTCUSDT", DAY)
        == "https://data.binance.vision/data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-09.zip"
    )


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_an_archive_comes_whole_and_tells_how_far_it_is(served, target, case: Callable[[str], str]):
    body = bytes(range(256)) * 10_000
    told: list[tuple[int, int]] = []
    url = put(served, "day.zip", body, case(hashlib.sha256(body).hexdigest()))
    assert download(url, target, lambda came, whole: told.append((came, whole))) is True
    assert target.read_bytes() == body
    assert told[-1] == (len(body), len(body))
    assert told == sorted(told)


def test_where_there_is_none_yet_it_says_so_and_leaves_nothing(served, target):
    assert download(f"{served.url}/tomorrow.zip", target, quietly) is False
    assert not target.exists()


@pytest.mark.parametrize(("checksum", "said"), [("ab" * 32, "abab"), ("", "says nothing")])
def test_an_archive_that_is_not_what_its_checksum_says_is_refused_and_removed(served, target, checksum, said):
    with pytest.raises(UpstreamError, match=rf"day.zip is damaged.*{said}"):
        download(put(served, "day.zip", b"not what it was", checksum), target, quietly)
    assert not target.exists()


def test_an_archive_that_ends_early_is_refused(served, target):
    with pytest.raises(UpstreamError, match=r"short.zip cannot be had"):
        download(put(served, "short.zip", b"half of it"), target, quietly)


def test_a_checksum_without_its_archive_is_trouble_and_not_an_empty_day(served, target):
    url = put(served, "day.zip", b"x")
    (served.folder / "day.zip").unlink()
    with pytest.raises(UpstreamError, match=r"day.zip cannot be had.*404"):
        download(url, target, quietly)


def test_an_archive_beyond_the_bound_is_refused(served, target, monkeypatch):
    monkeypatch.setattr(archive_module, "LARGEST_ARCHIVE", 1000)
    with pytest.raises(UpstreamError, match="larger than 1000 bytes"):
        download(put(served, "day.zip", b"x" * 1001), target, quietly)


def test_an_address_nobody_answers_at_is_an_upstream_error(served, target):
    free = served.url.rpartition(":")[0] + ":1"
    with pytest.raises(UpstreamError, match="cannot be had"):
        download(f"{free}/day.zip", target, quietly)
