import httpx
import pytest

from tapehouse.api.status import create_app
from tapehouse.settings import Settings


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/prices/latest", "/openapi.json", "/nothing"])
def test_head_is_answered_as_get_is_without_the_body(api, path):
    head, get = api.head(path), api.get(path)
    assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])
    assert head.content == b""
    assert get.content


async def test_a_process_that_serves_nothing_else_answers_it_too():
    app = create_app("A producer", lambda: {"status": "ok"}, Settings(_env_file=None))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.head("/health")).status_code == 200
