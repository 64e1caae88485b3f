"""What the refusals of Binance mean to the person who runs this, and what to do about them."""

_EXPLANATIONS = {
    403: "a firewall refused this address (too many faulty requests, or a network that filters); "
    "wait some minutes, or name another address in {setting}",
    418: "this address is banned for a while because it went on after 429; "
    "nothing is asked until the ban is over; stop other programs that use Binance from here",
    429: "too many requests from this address; waiting as long as it asks; "
    "stop other programs that use Binance from here, or follow fewer symbols",
    451: "Binance does not serve the region this machine is in; set {setting} to an address that does, "
    "such as {public} for public market data",
}
_PUBLIC = {
    "TAPEHOUSE_BINANCE_WS_URL": "wss://data-stream.binance.vision",
    "TAPEHOUSE_BINANCE_REST_URL": "https://data-api.binance.vision",
}
WS_SETTING = "TAPEHOUSE_BINANCE_WS_URL"
REST_SETTING = "TAPEHOUSE_BINANCE_REST_URL"

REGION_OR_FIREWALL = frozenset({403, 451})
TOO_MANY = frozenset({418, 429})
DEFAULT_RETRY_AFTER = 60.0
"""Seconds to wait after 429 or 418 when `Retry-After` is absent."""


def explain(status: int, setting: str) -> str:
    """Return what an HTTP status of Binance means and what to do; empty when it is nothing special."""
    return _EXPLANATIONS.get(status, "").format(setting=setting, public=_PUBLIC[setting])
