"""What the settings call a signal, and what is said where they leave out a kind."""

import pytest
import structlog

from tapehouse.profiles.signals import detection
from tapehouse.settings import Settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"signal_intervals": ("5m", "1h")}, ["no_divergences"]),
        ({"signal_intervals": ("5m", "1h"), "sources": ("binance",)}, []),
        ({"signal_intervals": ("1m", "5m")}, []),
        ({"signal_intervals": ()}, []),
    ],
)
def test_divergences_that_stop_because_their_interval_is_not_watched_are_told_of(settings, said):
    with structlog.testing.capture_logs() as logs:
        assert detection(Settings(**settings)).intervals == settings["signal_intervals"]
    assert [entry["event"] for entry in logs] == said
