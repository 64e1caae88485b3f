import time

import pytest

from tapehouse.errors import UpstreamError
from tapehouse.producers.binance.budget import Budget
from tapehouse.producers.binance.clock import SAMPLES, measure_offset
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
    assert offset == pytest.approx(ahead, abs=took + 0.002)
    assert len(exchange.asked) == SAMPLES


async def test_an_exchange_that_does_not_answer_is_an_upstream_error(rest):
    with pytest.raises(UpstreamError):
        await measure_offset(rest)
