import polars as pl

from tapehouse.streaming.quantities import STRETCH, Quantities


def held(reads, quantities):
    """Quantities held by id, of one symbol; `reads` notes what is looked up."""

    def read(symbol, first, last):
        reads.append((symbol, first, last))
        chosen = [(trade_id, units) for trade_id, units in quantities.items() if first <= trade_id <= last]
        return pl.DataFrame(chosen, schema={"first_trade_id": pl.Int64, "quantity": pl.Int64}, orient="row")

    return Quantities(read)


def test_what_is_held_of_a_range_is_summed_whatever_the_order():
    quantities = held([], {7: 70, 5: 50, 9: 90})
    assert quantities.between("BTCUSDT", 5, 7) == 120
    assert quantities.between("BTCUSDT", 6, 6) == 0
    assert quantities.between("BTCUSDT", 5, 9) == 210


def test_ranges_one_after_the_other_are_looked_up_once():
    reads = []
    quantities = held(reads, dict.fromkeys(range(0, 2 * STRETCH, 2), 1))
    assert [quantities.between("BTCUSDT", first, first + 3) for first in range(100, 5000, 4)] == [2] * 1225
    assert reads == [("BTCUSDT", 100, 100 + STRETCH)]
    assert quantities.between("BTCUSDT", 50, 53) == 2
    assert quantities.between("ETHUSDT", 50, 53) == 2
    assert len(reads) == 3


def test_what_has_changed_is_seen_after_forgetting():
    now_held = {5: 50}
    quantities = held([], now_held)
    assert quantities.between("BTCUSDT", 5, 6) == 50
    now_held[6] = 60
    quantities.forget()
    assert quantities.between("BTCUSDT", 5, 6) == 110


def test_a_range_longer_than_a_stretch_is_summed_whole():
    quantities = held([], dict.fromkeys(range(3 * STRETCH), 1))
    assert quantities.between("BTCUSDT", 0, 3 * STRETCH - 1) == 3 * STRETCH
