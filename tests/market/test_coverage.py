import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tapehouse.market.coverage import Coverage, Ranges, overlay

NUMBERS = range(41)
spans = st.tuples(st.sampled_from(NUMBERS), st.integers(0, 12)).map(lambda span: (span[0], min(sum(span), 40)))


def runs(numbers) -> list[tuple[int, int]]:
    """The ranges of a set, found one number at a time."""
    firsts = [number for number in sorted(numbers) if number - 1 not in numbers]
    lasts = [number for number in sorted(numbers) if number + 1 not in numbers]
    return list(zip(firsts, lasts, strict=True))


class RangesAreASet(RuleBasedStateMachine):
    """Every operation on Ranges, beside the same on a set of numbers."""

    def __init__(self):
        super().__init__()
        self.ranges = Ranges()
        self.numbers = set()

    @rule(span=spans)
    def add(self, span):
        self.ranges.add(*span)
        self.numbers |= set(range(span[0], span[1] + 1))

    @rule(length=st.integers(1, 3))
    def add_what_follows(self, length):
        first = max(self.numbers, default=0) + 1
        self.ranges.add(first, first + length - 1)
        self.numbers |= set(range(first, first + length))

    @rule(span=spans)
    def remove(self, span):
        self.ranges.remove(*span)
        self.numbers -= set(range(span[0], span[1] + 1))

    @rule(span=spans)
    def ask(self, span):
        asked = set(range(span[0], span[1] + 1))
        assert self.ranges.covers(*span) == (asked <= self.numbers)
        assert self.ranges.missing(*span) == runs(asked - self.numbers)

    @invariant()
    def holds_the_same_numbers(self):
        assert list(self.ranges) == runs(self.numbers)
        assert len(self.ranges) == len(self.numbers)
        assert bool(self.ranges) == bool(self.numbers)
        assert [number for number in range(-1, 60) if number in self.ranges] == sorted(
            number for number in self.numbers if number < 60
        )

    @invariant()
    def its_holes_are_what_lies_between(self):
        if self.numbers:
            between = set(range(min(self.numbers), max(self.numbers))) - self.numbers
            assert self.ranges.holes() == runs(between)
            assert (self.ranges.first, self.ranges.last) == (min(self.numbers), max(self.numbers))
        else:
            assert self.ranges.holes() == []


RangesAreASet.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestRangesAreASet = RangesAreASet.TestCase


@given(st.lists(spans, max_size=10), st.randoms())
def test_the_order_in_which_ranges_come_does_not_matter(added, random):
    shuffled = random.sample(added, len(added))
    assert Ranges(added) == Ranges(shuffled)


def test_ranges_equal_only_ranges():
    assert Ranges([(1, 2)]) != [(1, 2)]
    assert Ranges([(1, 2)]) != Ranges([(1, 3)])


def test_a_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match=r"ends before it begins: 5\.\.4"):
        Ranges().add(5, 4)


def test_ranges_cannot_be_hashed():
    with pytest.raises(TypeError):
        hash(Ranges())


@given(st.lists(spans, max_size=12), st.integers(-1, 60))
def test_what_is_accepted_is_new_exactly_once(taken, known_last):
    coverage, held = Coverage(), set()
    coverage.expect(known_last)
    for first, last in taken:
        asked = set(range(first, last + 1))
        assert coverage.follows(first) == bool(held and first == max(held) + 1)
        assert coverage.accept(first, last) == runs(asked - held)
        held |= asked
        assert coverage.last == max(held)
        assert coverage.missing() == runs(set(range(min(held), max([*held, known_last]) + 1)) - held)


def test_nothing_is_missing_before_anything_is_held():
    coverage = Coverage()
    coverage.expect(10)
    assert coverage.missing() == []
    assert coverage.last == -1
    assert not coverage.follows(0)


def test_what_the_exchange_numbered_never_shrinks():
    coverage = Coverage([(1, 3)], known_last=9)
    coverage.expect(5)
    assert coverage.missing() == [(4, 9)]


@given(st.lists(st.tuples(spans, st.booleans()), max_size=12))
def test_later_knowledge_overrides_earlier(told):
    state = {}
    for (first, last), is_held in told:
        state |= dict.fromkeys(range(first, last + 1), is_held)
    held, missing = overlay((first, last, is_held) for (first, last), is_held in told)
    assert list(held) == runs({number for number, is_held in state.items() if is_held})
    assert list(missing) == runs({number for number, is_held in state.items() if not is_held})
