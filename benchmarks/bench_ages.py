"""How old a trade is when it is committed, and when it has moved the live candle a WebSocket client sees.

Ages count from the receipt of each trade (kept in bronze); how far the receipt is behind the trade says that the socket
was read as fast as it was written. Committed means the commit's log entry is on disk (its modification time); a trade
has moved the candle once a message came that tells its id or a later one.
"""

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from websockets.sync.client import connect

from benchmarks import stand, truth
from benchmarks.measuring import Figure, at_most, check, quantile
from tapehouse.catalog import TRADES
from tapehouse.lake.delta import DeltaLake

SYMBOL = "BTCUSDT"


def run(seconds: float) -> list[Figure]:
    """Measure at a calm and at a busy rate."""
    calm, (_, gaps), _ = measure(seconds, 1_000)
    busy, (commits, busy_gaps), lag = measure(seconds, 200_000)
    return [
        Figure("200,000 msg/s: trade to receipt, p99", lag, "ms"),
        Figure("200,000 msg/s: age at commit, p50", commits[0], "ms"),
        at_most("200,000 msg/s: age at commit, p99", commits[1], "ms", 400),
        Figure("200,000 msg/s: between two commits of bronze, p50", busy_gaps[0], "ms"),
        Figure("200,000 msg/s: between two commits of bronze, p99", busy_gaps[1], "ms"),
        Figure("1,000 msg/s: between two commits of bronze, p50", gaps[0], "ms"),
        Figure("1,000 msg/s: between two commits of bronze, p99", gaps[1], "ms"),
        Figure("1,000 msg/s: trade to live candle, p50", calm[0], "ms"),
        at_most("1,000 msg/s: trade to live candle, p99", calm[1], "ms", 30),
        Figure("200,000 msg/s: trade to live candle, p50", busy[0], "ms"),
        at_most("200,000 msg/s: trade to live candle, p99", busy[1], "ms", 150),
    ]


Quantiles = tuple[float, float]
"""p50 and p99, in milliseconds."""


def measure(seconds: float, rate: float) -> tuple[Quantiles, tuple[Quantiles, Quantiles], float]:
    """Return the live candle's age, the age at commit and the time between commits, and p99 from trade to receipt."""
    with stand.folder() as folder:
        with stand.exchange(rate) as exchange, stand.platform(folder, exchange) as platform:
            stand.wait_until_it_flows(platform, rate)
            began = time.time_ns() // 1000
            seen = follow(platform.url, seconds)
            ended = seen[-1][0]
        lake = DeltaLake(str(folder / "delta"))
        truth.check_trades(lake)
        return live_ages(lake, seen), commit_ages(folder, began, ended), truth.receipt_lag(lake, began, ended) * 1000


def follow(url: str, seconds: float) -> list[tuple[int, int]]:
    """Return (arrival in microseconds, last trade id) of each live candle that comes."""
    wanted = {"symbols": [SYMBOL], "interval": "1m", "channels": ["candles"]}
    seen = []
    with connect(url.replace("http", "ws") + "/live", max_size=None) as socket:
        socket.send(json.dumps({"subscribe": wanted}))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            message = socket.recv(timeout=10)
            arrived = time.time_ns() // 1000
            if '"candles"' in str(message)[:40]:
                seen += [(arrived, int(last)) for last in re.findall(r'"last_trade_id": ?(\d+)', str(message))[-1:]]
    check(len(seen) > seconds, f"{len(seen)} candles in {seconds} seconds")
    return seen


def live_ages(lake: DeltaLake, seen: list[tuple[int, int]]) -> Quantiles:
    """Match each trade in the lake with the first message that tells of it."""
    trades = lake.scan(TRADES).filter(pl.col("symbol") == SYMBOL)
    received = trades.select(at=pl.col("received_at").to_physical(), id="first_trade_id").collect()
    return ages_between(received.rows(), seen)


def ages_between(received: Sequence[tuple[int, ...]], seen: Sequence[tuple[int, int]]) -> Quantiles:
    """Return (p50, p99) in milliseconds from the receipt of each trade to the first message of its id or a later one.

    Both are pairs of a time in microseconds and a trade id; trades before or after all messages are left out.
    """
    told = pl.DataFrame(seen, schema=["arrived", "id"], orient="row").sort("id").unique("id", keep="first").sort("id")
    trades = pl.DataFrame(received, schema=["at", "id"], orient="row").sort("id")
    begun = pl.col("at") >= told["arrived"].min()  # the first message may tell a candle of a while ago
    within = trades.filter(begun, pl.col("id").is_between(told["id"][0] + 1, told["id"][-1]))
    matched = within.join_asof(told, on="id", strategy="forward")
    return _quantiles(matched.select((pl.col("arrived") - pl.col("at")) / 1000).to_series())


def commit_ages(folder: Path, began: int, ended: int) -> tuple[Quantiles, Quantiles]:
    """Match each trade with the moment its commit was on disk; beside it, the time from one such commit to the next."""
    table = folder / "delta" / TRADES
    ages, moments = [], []
    for entry in sorted((table / "_delta_log").glob("*.json")):
        committed = entry.stat().st_mtime_ns // 1000
        added = _files_added(entry)
        moments += [committed] if added and began <= committed <= ended else []
        for path in added:
            rows = pl.scan_parquet(table / path, hive_partitioning=False)
            ages.append(rows.select(age=committed - pl.col("received_at").to_physical(), at="received_at").collect())
    found = pl.concat(ages).filter(pl.col("at").to_physical().is_between(began, ended))
    return _quantiles(found["age"] / 1000), _quantiles(pl.Series(moments).diff().drop_nulls() / 1000)


def _files_added(entry: Path) -> list[str]:
    """Return the files a commit of new rows added; a compaction changes no rows."""
    actions = [json.loads(line) for line in entry.read_text().splitlines()]
    return [action["add"]["path"] for action in actions if "add" in action and action["add"]["dataChange"]]


def _quantiles(ages: pl.Series) -> Quantiles:
    check(len(ages) > 0, "nothing to measure")
    values = ages.to_list()
    return quantile(values, 0.5), quantile(values, 0.99)
