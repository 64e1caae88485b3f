"""The indicators a request names, read from text such as `sma:50,macd:12:26:9,rsi`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import polars as pl
from fastapi import Query
from pydantic import AfterValidator

from tapehouse.market.indicators import INDICATORS
from tapehouse.market.windows import DAY

MOST_INDICATORS = 12
LONGEST = 500
"""Windows an indicator may look back over at most."""


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
    def needs(self) -> frozenset[str]:
        """Return what it takes besides its numbers."""
        return frozenset(INDICATORS[self.name].needs)

    @property
    def looks_back(self) -> str:
        """Return how far it looks back."""
        return INDICATORS[self.name].looks_back

    def history(self, length: int) -> int:
        """Return how many windows of this length (microseconds) are read before the first one told."""
        if self.looks_back == "numbers":
            return INDICATORS[self.name].history(**self.parameters)
        return DAY // length if self.looks_back == "day" else 0

    def columns(self, given: Mapping[str, object]) -> Mapping[str, pl.Expr]:
        """Return its columns by the names they have in an answer; `given` holds what an indicator may need."""
        suffix = self.label.removeprefix(self.name)
        needed = {name: given[name] for name in self.needs}
        found = INDICATORS[self.name].columns(**self.parameters, **needed)
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
        description="Indicators to compute, with their numbers where they are not the usual ones: "
        + ", ".join(f"{name} ({it.about})" for name, it in INDICATORS.items())
        + ".",
        examples=["sma:50,rsi:14,macd:12:26:9"],
    ),
    AfterValidator(_checked),
]
