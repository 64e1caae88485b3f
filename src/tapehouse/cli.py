"""The command line: each command reads its arguments, and calls one function.

The platform is imported by the command that needs it, so that `tapehouse --help` answers at once.
"""

import os
import platform
import signal
import sys
import traceback
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import tapehouse
from tapehouse.errors import TapehouseError
from tapehouse.options import INTERVALS, RECORDING, Moment, Pairs, Speed, from_option, to_option

if TYPE_CHECKING:
    from tapehouse.settings import Settings


class Commands(click.Group):
    """The group of commands: what goes wrong is said in words, and decides the exit status."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command; a TapehouseError becomes its text on stderr and its exit code."""
        try:
            return super().invoke(context)
        except TapehouseError as error:
            if context.params["debug"]:
                traceback.print_exc()
            click.echo(f"tapehouse: {error}", err=True)
            context.exit(error.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error, not only its text.")
@click.version_option(tapehouse.__version__, message="tapehouse %(version)s")
def main(debug: bool) -> None:
    """Real-time crypto market data that can be proved complete and exact.

    Settings come from environment variables TAPEHOUSE_* and a file .env; `tapehouse settings` shows them.
    """


@main.command()
@click.option("--demo", is_flag=True, help="Take the data from the exchange in the box; no network is used.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the API and the page; 0 takes a free one.")
def up(demo: bool, port: int | None) -> None:
    """Run the platform until Ctrl-C."""
    _end_when_told()
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # many small folds: handing them to more threads costs more
    os.environ.setdefault("_RJEM_MALLOC_CONF", "muzzy_decay_ms:0")  # Polars gives back at once what it has done with
    settings = _begin(api_port=port)
    if settings.profile == "cluster" and not demo:
        from tapehouse.profiles.cluster import run_up as run_up_cluster

        run_up_cluster(settings)
    else:
        from tapehouse.profiles.embedded import run_up

        run_up(settings, demo=demo)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9100, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--symbols", type=Pairs(), default="3", show_default=True, help="How many symbols, or their names.")
@click.option("--rate", default=100.0, show_default=True, help="Trades a second, over all symbols.")
@click.option(
    "--bursts",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Part of the minutes that have a burst: a fifth to a half of their trades within a second.",
)
@click.option(
    "--surges",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Of so many minutes of a symbol one trades many times as much and moves the price; 0: none.",
)
@click.option("--history", default=3600.0, show_default=True, help="Seconds of trades before now.")
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same trades.")
@click.option("--recording", "recordings", multiple=True, type=RECORDING, help="Serve a recorded file. Repeatable.")
@click.option("--lake", help="Serve the trades of this lake.")
@click.option("--date", "dates", multiple=True, metavar="DAY", help="Only this ISO day of the lake. Repeatable.")
@click.option("--shift-to-now", is_flag=True, help="Move recorded times so that the tape begins now.")
@click.option("--speed", type=Speed(), default="1", show_default=True, help="Times real time; max: as fast as is read.")
@click.option("--fault", "faults", multiple=True, metavar="NAME=VALUE", help="Such as drop=0.01. Repeatable.")
@click.option("--historical-trades/--no-historical-trades", default=True, help="Whether REST has historicalTrades.")
def exchange(**options: Any) -> None:
    """Serve a tape as Binance would.

    The tape is made up from a seed, or is that of recordings or of a lake.
    """
    import uvloop

    from tapehouse.exchange.main import ExchangeOptions, serve

    _begin()
    uvloop.run(serve(ExchangeOptions(**options)))


@main.command()
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@from_option
@to_option
@click.option(
    "--source",
    type=click.Choice(["binance", "coingecko"]),
    default="binance",
    show_default=True,
    help="Whose past: the trades of the symbols, or a value a day of their coins.",
)
def backfill(symbols: tuple[str, ...], start: datetime, end: datetime, source: str) -> None:
    """Fetch the trades of a range of time, or what the coins were worth.

    Whole days of trades come from the archives, the rest over REST. What is held already is not counted twice, so it
    is safe to repeat and to interrupt.
    """
    from tapehouse.profiles.history import run_backfill

    run_backfill(_begin(), symbols, start, end, source)


@main.command()
@click.argument("symbol")
@from_option
@to_option
def verify(symbol: str, start: datetime, end: datetime) -> None:
    """Compare candles with the exchange's own.

    Every window of the range is compared in every field. Ends with status 5 where one differs, and with 9 where none
    does and some could not be compared.
    """
    from tapehouse.profiles.history import run_verify

    run_verify(_begin(), symbol, start, end)


@main.command()
@click.argument("symbol")
@from_option
@to_option
@click.option("--check", is_flag=True, help="Write nothing; end with status 5 where the tables differ.")
def rebuild(symbol: str, start: datetime, end: datetime, check: bool) -> None:
    """Compute candles again from the trades.

    The stored trades of the range must give the stored candles; what differs is written as a new revision.
    """
    from tapehouse.profiles.history import run_rebuild

    run_rebuild(_begin(), symbol, start, end, check)


@main.group()
def signals() -> None:
    """Hold signals against history: try them on it, and store anew what it gives."""


@signals.command("backtest")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@click.option("--from", "start", type=Moment(), help="First moment, UTC; without it, all there is.")
@click.option("--to", "end", type=Moment(), help="Moment to stop before, UTC.")
@click.option(
    "--interval", type=click.Choice(INTERVALS), default="1m", show_default=True, help="Length of the windows."
)
@click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="Such as volume_spike; all without it. Repeatable."
)
@click.option("--recording", "recordings", multiple=True, type=RECORDING, help="A file of klines. Repeatable.")
@click.option(
    "--context",
    multiple=True,
    type=RECORDING,
    help="A file of what Fear & Greed or CoinGecko's market_chart answered, beside recordings. Repeatable.",
)
@click.option("--horizon", type=click.IntRange(1, 1440), default=12, show_default=True, help="Windows that may follow.")
@click.option("--times", type=click.FloatRange(min=0), default=2.0, show_default=True, help="How much is a large move.")
@click.option("--check", is_flag=True, help="End with status 5 where the stored signals are not what is found.")
def backtest_signals(recordings: tuple[Path, ...], context: tuple[Path, ...], check: bool, **asked: Any) -> None:
    """Count signals over history.

    How often each kind came, how long it lasted, and how often a large move of the price followed. The history is the
    lake's, or that of files of klines as Binance's archives have them. The Fear & Greed index is judged by its days,
    whatever the interval. What the history does not tell is said, with what it would take.
    """
    from tapehouse.profiles.backtest import read_question, run_backtest

    run_backtest(_begin(), read_question(**asked), recordings, context, check=check)


@signals.command("rebuild")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL...")
@click.option("--from", "start", type=Moment(), help="First moment, UTC; without it, all there is.")
@click.option("--to", "end", type=Moment(), help="Moment to stop before, UTC.")
def rebuild_signals(symbols: tuple[str, ...], start: datetime | None, end: datetime | None) -> None:
    """Find the stored signals anew, as after a change of what is a signal.

    What differs becomes a new revision, and a signal that is none any more is retracted. The signals of an interval
    that is not watched any more stay as they are.
    """
    from tapehouse.profiles.backtest import run_rebuild_signals

    run_rebuild_signals(_begin(), symbols, start, end)


@main.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9101,
    show_default=True,
    help="Port of /health and /metrics; 0 takes a free one.",
)
def produce(sources: tuple[str, ...], port: int) -> None:
    """Put what sources tell on the tape of the cluster, until Ctrl-C.

    The sources are those of TAPEHOUSE_SOURCES; one process for each is usual. A second producer of the same source
    and symbols takes the place of the first.
    """
    _end_when_told()
    from tapehouse.profiles.producing import run_produce

    run_produce(_begin(api_port=port, sources=sources))


@main.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9102,
    show_default=True,
    help="Port of /health and /metrics; 0 takes a free one.",
)
def stream(port: int) -> None:
    """Take the tape of the cluster to the lake with Spark, until Ctrl-C.

    One process a lake; a second one is refused while the first runs.
    """
    _end_when_told()
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # Spark's workers are the threads
    from tapehouse.profiles.streaming import run_stream

    run_stream(_begin(api_port=port))


@main.group()
def topics() -> None:
    """Keep the topics of the cluster's tape."""


@topics.command("apply")
def apply_topics() -> None:
    """Create the topics that are missing, and configure all as the catalog has them.

    Nothing is deleted. Safe to repeat.
    """
    from tapehouse.profiles.producing import run_topics_apply

    run_topics_apply(_begin())


@main.group()
def warehouse() -> None:
    """Build, test and describe the warehouse: dbt models over the lake.

    They need the extra `warehouse` (make setup-warehouse).
    """


@warehouse.command("build")
@click.option("--full-refresh", is_flag=True, help="Compute every table from the whole lake, not only what is new.")
def build_warehouse(full_refresh: bool) -> None:
    """Bring the warehouse up to what the lake holds.

    It is built and tested beside the file that readers have, takes its place when all is well, and is published to
    gold. Safe to repeat and to interrupt, and while the platform runs.
    """
    from tapehouse.profiles.warehouse import run_build

    run_build(_begin(), full_refresh=full_refresh)


@warehouse.command("test")
def check_warehouse() -> None:
    """Run every test of the warehouse over all it holds.

    Nothing is written; ends with status 8 where a test fails.
    """
    from tapehouse.profiles.warehouse import run_test

    run_test(_begin())


@warehouse.command("docs")
def describe_warehouse() -> None:
    """Write the documentation of the models.

    The running platform serves it at /warehouse/docs.
    """
    from tapehouse.profiles.warehouse import run_docs

    run_docs(_begin())


@main.command()
@click.argument("name", required=False)
def schema(name: str | None) -> None:
    """Show the JSON Schema of a message or of a table's row.

    Without a name, list the names there are.
    """
    from tapehouse.profiles.schemas import schema_names, schema_text

    click.echo(schema_text(name) if name else "\n".join(schema_names()), nl=not name)


@main.command()
def settings() -> None:
    """Show the settings.

    Each with its value, secrets masked, and where it came from: the environment, the file .env, the default.
    """
    from tapehouse.settings import describe, load_settings
    from tapehouse.telemetry import mask

    for variable, value, origin in describe(load_settings()):
        click.echo(f"{variable}={mask(value)}  # {origin}")


@main.command()
def version() -> None:
    """Show the versions of Tapehouse and Python."""
    click.echo(f"tapehouse {tapehouse.__version__}, Python {platform.python_version()}")


def _end_when_told() -> None:
    """End well at a signal, until whoever is started listens itself: before that there is nothing to commit."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))


def _begin(**given: object) -> "Settings":
    """Read the settings, what was given on the command line first, and set up the log."""
    from tapehouse.settings import load_settings
    from tapehouse.telemetry import set_up_logging

    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    set_up_logging(settings.log_level)
    return settings


if __name__ == "__main__":
    main(prog_name="tapehouse")
