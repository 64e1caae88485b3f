import httpx
import pytest


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:80", "192.168.0.7"])
def test_loopback_names_and_numeric_addresses_are_answered(api, host):
    assert api.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::"])
def test_another_host_is_refused_so_that_rebinding_a_name_gives_nothing(api, host):
    answer = api.get("/health", headers={"Host": host})
    assert (answer.status_code, answer.headers["content-type"]) == (421, "application/problem+json")
    assert "TAPEHOUSE_API_ALLOWED_HOSTS" in answer.json()["detail"]


def test_a_host_of_the_settings_is_answered(market, serving):
    with serving(market, api_allowed_hosts="Tape.example") as address:
        assert httpx.get(address + "/health", headers={"Host": "tape.example:443"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/health", "/nothing", "/web/main.js"])
def test_every_answer_forbids_other_sources_and_frames(api, path):
    headers = api.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_other_sites_are_not_allowed_to_read(api):
    answer = api.get("/prices/latest", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    assert api.options("/prices/latest", headers=preflight).status_code == 405


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_a_page_has_no_inline_script_or_style_and_asks_nobody_else(api, page):
    text = api.get(page).text
    assert "<style" not in text
    assert "style=" not in text
    assert "<script>" not in text
    assert 'src="http' not in text
    assert '<link rel="stylesheet" href="http' not in text
