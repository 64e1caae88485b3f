"""What options of the command line may be given: kinds of values, and options that several commands have."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click


class Moment(click.ParamType[datetime]):
    """A point in time, in UTC: an ISO date, or an ISO date and time, with or without an offset."""

    name = "time"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> datetime:
        """Return the moment, aware and in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2024-08-09 or 2024-08-09T00:05:00Z", parameter, context)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


class Pairs(click.ParamType[int | tuple[str, ...]]):
    """How many symbols, or their names separated by commas."""

    name = "n|names"

    def convert(self, value: Any, _parameter: click.Parameter | None, _context: click.Context | None) -> Any:
        """Return the number, or the names in upper case."""
        return int(value) if value.isdecimal() else tuple(name.strip().upper() for name in value.split(","))


class Speed(click.ParamType[float | None]):
    """A multiple of real time, or `max`."""

    name = "x|max"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float | None:
        """Return the multiple; None stands for as fast as it is read."""
        return (
            None
            if value in (None, "max")
            else click.FloatRange(min=0, min_open=True).convert(value, parameter, context)
        )


INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")
RECORDING = click.Path(exists=True, dir_okay=False, path_type=Path)
from_option = click.option("--from", "start", type=Moment(), required=True, help="First moment, UTC, e.g. 2024-08-09.")
to_option = click.option("--to", "end", type=Moment(), required=True, help="Moment to stop before, UTC.")
