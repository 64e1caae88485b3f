import time

import pytest

from tapehouse.errors import UpstreamError
from tapehouse.producers.binance.budget import Budget
from tapehouse.producers.binance.clock import (
    MEASURE_COARSE_AGAIN,
    MEASURE_EVERY,
    SAMPLES,
    ClockOffset,
    measure_offset,
)
from tapehouse.producers.binance.endpoints import Endpoints
from tapehouse.producers.binance.rest import BinanceRest


@pytest.fixture
async def rest(exchange, tmp_path):
    async with BinanceRest(Endpoints([exchange.rest]), Budget(tmp_path / "budget.json")) as client:
        yield client


@pytest.mark.parametrize("ahead", [-1.27, 0.0, 5000.0])
async def test_the_offset_is_the_exchange_clock_minus_ours(exchange, rest, ahead):
    exchange.answers["time"] = lambda _query: (200, {}, {"serverTime": int((time.time() + ahead) * 1000)})
    began = time.monotonic()
    offset = await measure_offset(rest)
    took = time.monotonic() - began
    assert 0 < offset.error <= took
    assert offset.seconds == pytest.approx(ahead, abs=offset.error + 0.002)
    assert len(exchange.asked) == SAMPLES


def test_what_was_measured_while_one_side_was_busy_is_measured_anew_soon():
    assert ClockOffset(-0.546, error=0.55).good_for == MEASURE_COARSE_AGAIN
    assert ClockOffset(-0.002, error=0.02).good_for == MEASURE_EVERY


async def test_an_exchange_that_does_not_answer_is_an_upstream_error(rest):
    with pytest.raises(UpstreamError):
        await measure_offset(rest)
