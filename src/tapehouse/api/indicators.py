"""The indicators a request names, read from text such as `sma:50,macd:12:26:9,rsi`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import polars as pl
from fastapi import Query
from pydantic import AfterValidator

from tapehouse.market.indicators import INDICATORS

MOST_INDICATORS = 12
LONGEST = 500
"""Windows an indicator may look back over at most."""
WARM_UP = 10
"""Lengths of history before the first value told: an average that forgets by and by has forgotten its start by then."""


@dataclass(frozen=True)
class Asked:
    """An indicator with its parameters."""

    name: str
    parameters: Mapping[str, int]

    @property
    def label(self) -> str:
        """Return how it is told in an answer: its name, and the parameters that are not the usual ones."""
        usual = INDICATORS[self.name].parameters
        return self.name if self.parameters == usual else "_".join([self.name, *map(str, self.parameters.values())])

    @property
    def history(self) -> int:
        """Return how many windows are read before the first one told."""
        return WARM_UP * max(self.parameters.values(), default=0)

    def columns(self) -> Mapping[str, pl.Expr]:
        """Return its columns by the names they have in an answer."""
        suffix = self.label.removeprefix(self.name)
        found = INDICATORS[self.name].columns(**self.parameters)
        return {f"{name}{suffix}": column for name, column in found.items()}


def read_indicators(text: str) -> tuple[Asked, ...]:
    """Read names separated by commas, each with its numbers after colons; raise ValueError that says what is wrong."""
    asked = tuple(_read_one(part.strip()) for part in text.split(",") if part.strip())
    if len(asked) > MOST_INDICATORS:
        raise ValueError(f"{len(asked)} indicators are more than {MOST_INDICATORS}")
    return asked


def _read_one(text: str) -> Asked:
    name, *numbers = text.lower().split(":")
    if name not in INDICATORS:
        raise ValueError(f"no indicator {name!r}; there are {', '.join(INDICATORS)}")
    usual = INDICATORS[name].parameters
    if numbers and len(numbers) != len(usual):
        raise ValueError(f"{name} takes {len(usual)} numbers ({', '.join(usual) or 'none'}), not {len(numbers)}")
    if not all(number.isascii() and number.isdigit() and 2 <= int(number) <= LONGEST for number in numbers):
        raise ValueError(f"the numbers of {name} are whole ones from 2 to {LONGEST}")
    parameters = dict(zip(usual, map(int, numbers), strict=True)) if numbers else dict(usual)
    if name == "macd" and parameters["fast"] >= parameters["slow"]:
        raise ValueError("macd's first number lies below its second")
    return Asked(name, parameters)


def _checked(text: str) -> str:
    read_indicators(text)
    return text


Indicators = Annotated[
    str,
    Query(
        max_length=400,
        description="Indicators to compute, such as `sma:50,rsi:14,macd:12:26:9`: " + ", ".join(INDICATORS) + ".",
    ),
    AfterValidator(_checked),
]
