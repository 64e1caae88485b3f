import pytest

from tapehouse.producers.binance.refusals import REST_SETTING, WS_SETTING, explain


@pytest.mark.parametrize("setting", [REST_SETTING, WS_SETTING])
@pytest.mark.parametrize(("status", "said"), [(451, "region"), (403, "firewall"), (429, "too many"), (418, "banned")])
def test_a_refusal_says_what_it_means_and_what_to_do(status, said, setting):
    text = explain(status, setting)
    assert said in text
    assert setting in text or "stop other programs" in text


def test_a_refused_region_names_the_public_address_of_the_same_kind():
    assert "wss://data-stream.binance.vision" in explain(451, WS_SETTING)
    assert "https://data-api.binance.vision" in explain(451, REST_SETTING)


def test_other_statuses_need_no_explanation():
    assert explain(500, REST_SETTING) == ""
