"""What is told of a run of dbt while it goes on, and when it has ended well."""

from collections.abc import Callable

import msgspec


class Step(msgspec.Struct, frozen=True):
    """A model, snapshot or test that has ended: the `done`th of `whole`."""

    name: str
    kind: str
    status: str
    seconds: float
    done: int
    whole: int


class Ran(msgspec.Struct, frozen=True):
    """How many steps of each kind went well."""

    counts: dict[str, int]


Tell = Callable[[Step], None]
