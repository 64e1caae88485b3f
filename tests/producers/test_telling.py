"""What a source says of itself reaches whoever serves it, and its silence is told as such."""

from collections.abc import Callable

import msgspec
import pytest
from prometheus_client import REGISTRY

from tapehouse.ports import Batch
from tapehouse.producers.binance.status import ConnectionStatus, SourceStatus
from tapehouse.producers.poll_status import MOST_TOLD, PolledStatus, PollStatus
from tapehouse.producers.polling import Clock
from tapehouse.producers.telling import SILENT_AFTER, TELL_EVERY, Heard, Word, tell_forever
from tapehouse.tape.local import LocalTape

NOW = 1_700_006_400_000_000
"""Microseconds: when a test begins."""


def address(name: str, *, fresh: bool = True) -> PollStatus:
    return PollStatus(name, "open", NOW, NOW - 5_000_000, NOW, 1, 0, 900.0, fresh, "")


def source(state: str = "connected", *addresses: PollStatus, stale: int = 0) -> PolledStatus:
    return PolledStatus("coingecko", state, addresses or (address("coins"),), 900.0, 3, None, "", (), stale=stale)


class OverError(Exception):
    """The time that a test gives is over."""


async def told_in(seconds: float, said: Callable[[float], Word]) -> list[Batch]:
    """Let a source be told of for so long; `said` is what it says of itself at a second."""
    tape, elapsed = LocalTape(), 0.0

    async def sleep(pause: float) -> None:
        nonlocal elapsed
        elapsed += pause
        if elapsed > seconds:
            raise OverError

    clock = Clock(lambda: NOW + int(elapsed * 1e6), sleep)
    with pytest.raises(OverError):
        await tell_forever(lambda: [said(elapsed)], tape, clock, "tapehouse-1")
    return tape.read(0)


async def test_a_source_is_told_of_at_once_when_it_changes_and_now_and_then():
    told = await told_in(25, lambda second: source("limited" if second >= 13 else "connected"))
    seconds = [(batch.received_at[0] - NOW) / 1e6 for batch in told]
    assert seconds == [0.0, TELL_EVERY, 13.0, 13.0 + TELL_EVERY]


async def test_what_is_told_is_heard_as_it_was():
    [batch] = await told_in(1, lambda _second: source(stale=1))
    heard = Heard(["coingecko"])
    assert heard.take([batch]) == []
    assert heard.statuses(batch.received_at[0]) == [source(stale=1)]
    assert REGISTRY.get_sample_value("tapehouse_stale_addresses", {"source": "coingecko"}) == 1.0
    answered = REGISTRY.get_sample_value("tapehouse_last_answer_timestamp_seconds", {"source": "coingecko"})
    assert answered == (NOW - 5_000_000) / 1e6


async def test_of_many_addresses_those_in_trouble_are_told():
    addresses = [*(address(str(number)) for number in range(500)), address("late", fresh=False)]
    [batch] = await told_in(1, lambda _second: source("connected", *addresses))
    heard = Heard(())
    heard.take([batch])
    (status,) = heard.statuses(NOW)
    assert (len(status.connections), status.connections[0].name) == (MOST_TOLD, "late")


def test_a_source_whose_producer_falls_silent_says_so_until_it_is_heard_again():
    heard = Heard(())
    word = Batch([msgspec.json.encode(source())], [NOW], "status", "coingecko")
    heard.take([word])
    later = NOW + int((SILENT_AFTER + 5) * 1e6)
    (status,) = heard.statuses(later)
    assert (status.state, status.connected) == ("silent", False)
    assert status.last_error == f"its producer has told nothing for {SILENT_AFTER + 5:.0f} s"
    heard.take([msgspec.structs.replace(word, received_at=[later])])
    assert heard.statuses(later)[0].connected


def exchange(*, up: bool = True, error: str = "", offset: float | None = -0.25, symbols: int = 2) -> SourceStatus:
    state = "open" if up else "backing_off"
    connection = ConnectionStatus("binance-1", symbols, state, "wss://stream", NOW, NOW, 1, error, ())
    return SourceStatus(
        "binance", (connection,), symbols, (), "wss://stream", "https://rest", offset, 20, 6000, 0.0, error, ()
    )


async def test_an_exchange_is_told_of_when_it_is_cut_and_as_it_is():
    told = await told_in(9, lambda second: exchange(up=second < 4, error="451" if second >= 4 else ""))
    assert [((batch.received_at[0] - NOW) / 1e6, batch.symbol) for batch in told] == [
        (0.0, "tapehouse-1"),
        (4.0, "tapehouse-1"),
    ]
    heard = Heard(())
    assert heard.followed(NOW) is None
    assert heard.take(told[:1]) == []
    assert (heard.followed(NOW), heard.statuses(NOW)) == (exchange(), [])
    heard.take(told[1:])
    assert heard.followed(NOW + 5_000_000) == exchange(up=False, error="451")


def test_producers_of_one_exchange_are_one_source_and_who_is_silent_no_longer_counts():
    heard = Heard(())
    later = NOW + int((SILENT_AFTER + 5) * 1e6)
    for by_whom, at, word in (
        ("tapehouse-1", NOW, exchange(symbols=3, offset=None)),
        ("tapehouse-2", later, exchange(up=False, error="a wall", symbols=5)),
    ):
        heard.take([Batch([msgspec.json.encode(word)], [at], "status", by_whom)])
    both = heard.followed(NOW)
    assert (both.symbols, len(both.connections), both.clock_offset) == (8, 2, -0.25)
    assert (both.connected, both.last_error) == (False, "a wall")
    assert heard.followed(later) == exchange(up=False, error="a wall", symbols=5)
    assert heard.followed(2 * later) is None


def test_a_source_that_nobody_told_of_is_connecting():
    (status,) = Heard(["rss"]).statuses(NOW)
    assert (status.name, status.state, status.last_error) == ("rss", "connecting", "no producer has told of it")


@pytest.mark.parametrize(
    "frame", [b"", b"\xff", b"{}", msgspec.json.encode(msgspec.structs.replace(source(), name="bloomberg"))]
)
def test_what_is_no_word_of_a_source_of_ours_is_passed_over_and_the_rest_is_heard(frame):
    heard = Heard(())
    trades = Batch([b"{}"], [NOW])
    words = Batch([frame, msgspec.json.encode(source())], [NOW, NOW], "status", "coingecko")
    assert heard.take([trades, words]) == [trades]
    assert [status.name for status in heard.statuses(NOW)] == ["coingecko"]
