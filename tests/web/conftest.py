"""A real Chromium looking at the real page; the market behind it is fed by hand (tests/api/conftest.py)."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("api_fixtures", Path(__file__).parents[1] / "api" / "conftest.py")
_api = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_api)
market, address, serving = _api.market, _api.address, _api.serving_fixture
