"""The documentation of the warehouse is served once it was written, shut in by its policy."""

import httpx


def test_before_it_is_written_a_person_is_told_the_command(market, serving, tmp_path):
    with serving(market, warehouse=tmp_path / "warehouse.duckdb") as address:
        answer = httpx.get(address + "/warehouse/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "tapehouse warehouse docs" in answer.json()["detail"]


def test_what_was_written_is_served_from_then_on_and_reaches_nobody(market, serving, tmp_path):
    with serving(market, warehouse=tmp_path / "warehouse.duckdb") as address:
        (tmp_path / "docs.html").write_text("<html>models</html>")
        answer = httpx.get(address + "/warehouse/docs")
    assert (answer.status_code, answer.text) == (200, "<html>models</html>")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
