"""What is shown of signals before it is stored: of open windows, and by one that follows the tape."""

import asyncio

from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.snapshot import Snapshot
from tapehouse.market.signals import Signal
from tapehouse.market.windows import MINUTE
from tapehouse.streaming.followed_view import FollowedView
from tapehouse.streaming.follower import Follower
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.settled import Settled
from tapehouse.streaming.view import Interest

START = 1_723_161_600_000  # milliseconds, the beginning of a day


def test_an_open_window_is_told_while_somebody_watches_and_never_stored(engines, tape, stored):
    engine = engines.start()
    engines.fold(engine, tape[: 90 * 4])
    engine.commit()
    minute = (START + 90 * 60_000) * 1000
    engines.fold(engine, tape[90 * 4 : 90 * 4 + 3])
    assert engines.view.signals.open() == []
    loop = asyncio.new_event_loop()
    watcher = engines.view.subscribe(loop, lambda: Interest(signals=frozenset({"BTCUSDT"})))
    engines.advance(1_000_000)
    engines.fold(engine, tape[90 * 4 + 2 : 90 * 4 + 3])
    seen = {(s.kind, s.interval): s for s in engines.view.signals.open()}
    spike = seen["volume_spike", "1m"]
    assert (spike.opened_at, spike.state, spike.revision) == (minute, "provisional", 0)
    engine.commit()
    engine._committer.wait()
    assert [s for s in stored.signals() if s.opened_at == minute and s.interval == "1m"] == []
    engines.advance(1_000_000)
    engines.fold(engine, tape[90 * 4 + 3 : 91 * 4 + 1])
    engine.commit()
    told = [s for s in engines.view.signals.since(0)[0] if (s.kind, s.interval) == ("volume_spike", "1m")]
    told = [(s.state, s.revision) for s in told if s.opened_at == minute]
    assert told[0] == ("provisional", 0)
    assert told[-1] == ("confirmed", 1)
    assert ("retracted", 0) not in told
    engines.view.unsubscribe(watcher)
    loop.close()
    engine.close()


def test_what_an_open_window_says_no_more_is_told_as_gone(engines):
    view = engines.view.signals
    spike = Signal("volume_spike", "BTCUSDT", "1m", START * 1000, 5.0, "provisional", {}, 0, 1)
    open_until, over = spike.opened_at + MINUTE - 1, spike.opened_at + MINUTE
    for seen in ([spike], [spike], []):
        view.foresee("BTCUSDT", seen, open_until)
    assert [(s.state, s.revision) for s in view.since(0)[0]] == [("provisional", 0), ("retracted", 0)]
    view.foresee("BTCUSDT", [spike], open_until)
    view.foresee("BTCUSDT", [], over)
    assert len(view.since(0)[0]) == 3
    view.publish([])
    assert [(s.state, s.revision) for s in view.since(0)[0]][3:] == [("retracted", 0)]
    assert view.open() == []


def test_a_follower_tells_from_the_tape_what_the_lake_will_tell_and_takes_over_what_it_tells(
    lake, engines, tape, stored, keen, as_batch, standing
):
    engine = engines.start()
    engines.fold(engine, tape[: 80 * 4])
    engine.commit()
    engine._committer.wait()
    beside, view = DeltaLake(lake.root, writer=None), FollowedView()
    snapshot = Snapshot(beside)
    view.signals.recall(snapshot)
    follower = Follower(beside, view, recover(snapshot, ["BTCUSDT"], keen), now=engines.now)
    settled = Settled(beside, snapshot)
    follower.fold([as_batch(tape[80 * 4 :])])
    spike = "volume_spike", "1m", (START + 90 * 60_000) * 1000
    [ahead] = [s for s in view.signals.newest() if (s.kind, s.interval, s.opened_at) == spike]
    assert (ahead.state, ahead.revision, ahead.known_at) == ("confirmed", 1, 0)
    engines.fold(engine, tape[80 * 4 :])
    engine.close()
    rows, signals, committed = settled.look()
    follower.take_over(rows, signals)
    assert committed is False
    assert standing(view.signals.newest()) == stored.standing() == stored.of_batch()
    assert all(s.known_at > 0 for s in view.signals.newest())
    assert settled.look() == ([], [], False)
