"""What the commands show a person: progress while they work, tables when they have."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from math import isnan

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from tapehouse.market.candles import Candle
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import Signal
from tapehouse.market.windows import DAY
from tapehouse.streaming.backfill import Step as FilledStep
from tapehouse.streaming.backtest import Outcome, Tally
from tapehouse.streaming.rebuild import Rebuilt
from tapehouse.streaming.verification import Verification, shown
from tapehouse.warehouse.steps import Step

MOST_LINES = 40
"""Lines of a table that are shown; the rest is counted."""


@contextmanager
def telling_progress(symbols: Sequence[str], start: int, end: int) -> Iterator[Callable[[FilledStep], None]]:
    """Show a bar a symbol, in days, and what is being fetched; give the function that is told each step."""
    first_day = start - start % DAY
    days = -(-(end - first_day) // DAY)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("days"))
    with Progress(
        *columns, TimeRemainingColumn(), TextColumn("{task.fields[now]}"), console=Console(stderr=True)
    ) as bars:
        tasks: dict[str, TaskID] = {symbol: bars.add_task(symbol, total=days, now="") for symbol in symbols}

        def tell(step: FilledStep) -> None:
            opened = int(datetime(step.day.year, step.day.month, step.day.day, tzinfo=UTC).timestamp()) * 1_000_000
            share = f"{100 * step.done // step.whole} %" if step.whole else f"{step.done:,}"
            bars.update(
                tasks[step.symbol],
                completed=(opened - first_day) // DAY,
                now=f"{step.day} {step.source} {share}",
            )

        yield tell
        for task in tasks.values():
            bars.update(task, completed=days, now="")


class _Telling(Console):
    """A console that falls silent once nobody reads it."""

    def on_broken_pipe(self) -> None:
        """Stay: rich would end the thread that finds out, and dbt waits for its threads for ever."""
        with suppress(SystemExit):
            super().on_broken_pipe()


@contextmanager
def telling_steps(doing: str) -> Iterator[Callable[[Step], None]]:
    """Show a bar of the steps of a dbt run and what has just ended, a line a model; give what is told each step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"))
    with Progress(*columns, console=_Telling(stderr=True)) as bars:
        task = bars.add_task(doing, total=None, now="")

        def tell(step: Step) -> None:
            bars.update(task, total=step.whole, completed=step.done, now=step.name)
            if step.kind != "test" or step.status not in {"pass", "success"}:
                bars.console.print(
                    f"{step.kind:>9} {step.name}: {step.status} in {step.seconds:.1f} s", highlight=False
                )

        yield tell
        bars.update(task, now="")


def print_verification(result: Verification, statuses: Mapping[int, str] | None = None) -> None:
    """Print how many candles agree with the exchange's own, and each column that does not.

    `statuses` say, by opening, what looking into a difference came to.
    """
    console = Console()
    table = Table(title=f"{result.symbol}: candles against the exchange's own")
    for name in ("windows", "agreeing", "differing", "not proved", "without a kline", "not held"):
        table.add_column(name, justify="right")
    uncompared = (result.unproved, result.without_kline, result.not_held)
    table.add_row(*map(str, (result.windows, result.agreeing, len(result.differing), *uncompared)))
    console.print(table)
    if not result.differing:
        return
    details = Table("opened at", "column", "ours", "the exchange's", "looked into")
    known = statuses or {}
    lines = [
        (_time(check.opened_at), column, shown(column, ours), shown(column, theirs), known.get(check.opened_at, ""))
        for check in result.differing
        for column, ours, theirs in check.differences
    ]
    for line in lines[:MOST_LINES]:
        details.add_row(*line)
    console.print(details)
    if len(lines) > MOST_LINES:
        console.print(f"... and {len(lines) - MOST_LINES} more")


def print_rebuilt(day: Rebuilt, symbol: str, *, stored: bool) -> None:
    """Print how a day computed anew compares with what is stored."""
    console = Console()
    what = "stored as new revisions" if stored else "nothing was written"
    verdict = f"{len(day.differing)} differ, {what}" if day.differing else "all as stored"
    console.print(f"{symbol} {day.day}: {day.candles} candles computed, {verdict}")
    for before, computed in day.differing[:MOST_LINES]:
        row = computed or before
        if row is not None:
            console.print(f"  {row.interval} {_time(row.opened_at)}: {_summary(before)} -> {_summary(computed)}")
    if len(day.differing) > MOST_LINES:
        console.print(f"  ... and {len(day.differing) - MOST_LINES} more")


def print_backtest(symbol: str, interval: str, windows: int, tallies: Sequence[Tally], outcome: Outcome) -> None:
    """Print how often each kind of signal came, how long it lasted, and how often the outcome followed."""
    console = Console()
    table = Table(title=f"{symbol} {interval}: {windows:,} windows", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("kind", no_wrap=True)
    for name in ("judged", "signals", "a day", "runs", "longest", "followed", "usual", "false a day"):
        table.add_column(name, justify="right")
    for tally in tallies:
        table.add_row(
            tally.kind,
            f"{tally.judged:,}",
            str(tally.signals),
            _rate(tally.a_day),
            str(tally.episodes),
            str(tally.longest),
            *(_percent(tally.followed), _percent(tally.usual)),
            _rate(tally.false_a_day),
        )
    console.print(table)
    console.print(
        f"followed: the close moved, within {outcome.horizon} windows, more than {outcome.times:g} times the median of "
        "such moves before; usual: the same after any window"
    )


def print_shortcomings(sentences: Iterable[str]) -> None:
    """Print what the history does not tell, a line each."""
    for sentence in sentences:
        Console().print(sentence, highlight=False)


def print_differing_signals(of: str, found: Sequence[Signal], *, stored: bool = False) -> None:
    """Print which stored signals are not what the candles give, or, where that was `stored`, are so now."""
    console = Console()
    what = f"{len(found)} signals stored anew" if stored else f"{len(found)} stored signals differ"
    console.print(f"{of}: {what if found else 'signals are as stored'}")
    for signal in found[:MOST_LINES]:
        console.print(f"  {signal.interval} {_time(signal.opened_at)} {signal.kind}: {signal.state}, {signal.score:g}")
    if len(found) > MOST_LINES:
        console.print(f"  ... and {len(found) - MOST_LINES} more")


def _percent(part: float) -> str:
    return "-" if isnan(part) else f"{100 * part:.0f} %"


def _rate(a_day: float) -> str:
    """Write how many a day there are, with two digits where they are rare."""
    return "-" if isnan(a_day) else f"{a_day:.2f}" if a_day >= 1 else f"{a_day:.2g}"


def _summary(row: CandleRow | None) -> str:
    if row is None:
        return "nothing"
    candle: Candle | None = row.candle
    if candle is None:
        return row.state
    return f"{row.state}, {candle.trades} trades, close {shown('close', candle.close)}"


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
