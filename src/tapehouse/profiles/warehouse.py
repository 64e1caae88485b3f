"""The commands of the warehouse: build, test, docs."""

from datetime import UTC, datetime

from tapehouse.profiles.process import say
from tapehouse.profiles.storage import open_lake_to_publish, open_lake_to_read, reading
from tapehouse.reports import telling_steps
from tapehouse.settings import Settings
from tapehouse.warehouse.build import build, building, check, check_lake, describe


def run_build(settings: Settings, *, full_refresh: bool) -> None:
    """Build the warehouse from what the lake has, put it in place and publish it to gold.

    Raise WarehouseError with what failed; LakeError where there is nothing to build from, or gold cannot be written.
    """
    with reading(settings):
        check_lake(open_lake_to_read(settings), settings.lake)
        with building(settings.warehouse):
            with telling_steps("Building") as tell:
                ran = build(settings, tell, full_refresh=full_refresh)
            from tapehouse.warehouse.publish import publish  # noqa: PLC0415  # it loads DuckDB, which is an extra

            published = publish(settings.warehouse, open_lake_to_publish(settings), datetime.now(UTC))
    say(f"Built {settings.warehouse}: {_counted(ran.counts)}, all well.")
    for table, rows in published.items():
        say(f"Published {rows:,} rows to {settings.lake}/{table}")


def run_test(settings: Settings) -> None:
    """Run every test of the warehouse; raise WarehouseError with those that fail."""
    with reading(settings), telling_steps("Testing") as tell:
        ran = check(settings, tell)
    say(f"All well: {_counted(ran.counts)}.")


def run_docs(settings: Settings) -> None:
    """Write the documentation of the models, which the API serves."""
    with reading(settings), telling_steps("Describing") as tell:
        page = describe(settings, tell)
    say(f"Written to {page}; the running platform serves it at /warehouse/docs.")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind.replace('_', ' ')}s" for kind, count in sorted(counts.items()))
