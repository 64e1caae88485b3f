"""For every test: where the recorded market data lies, and how examples are searched for."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "tapehouse",
    derandomize=os.environ.get("CI") == "true",  # the same examples in every run of CI, new ones here
    deadline=None,  # nothing passes or fails by the clock
    database=None,  # nothing is written into the checkout
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("tapehouse")

BESIDE_THE_CHECKOUT = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded market data, read in place: TAPEHOUSE_RECORDINGS, else ../shared/data.

    Where it is absent, the test is skipped by name; in CI (CI=true) its absence is a failure.
    """
    folder = Path(os.environ.get("TAPEHOUSE_RECORDINGS", BESIDE_THE_CHECKOUT))
    if not (folder / "INDEX.md").is_file():
        absent = f"no recorded market data in {folder}; TAPEHOUSE_RECORDINGS names another place"
        if os.environ.get("CI") == "true":
            pytest.fail(absent)
        pytest.skip(absent)
    return folder
