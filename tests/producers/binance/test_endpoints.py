from tapehouse.producers.binance.endpoints import Endpoints


def test_addresses_are_tried_in_the_order_given():
    assert Endpoints(["a", "b", "c"]).in_order(0.0) == ("a", "b", "c")


def test_an_address_that_failed_is_tried_last_until_its_pause_is_over():
    endpoints = Endpoints(["a", "b", "c"])
    endpoints.failed("a", 100.0, pause=30.0)
    assert endpoints.in_order(129.0) == ("b", "c", "a")
    assert endpoints.in_order(131.0) == ("a", "b", "c")


def test_when_all_failed_all_are_tried_in_their_order():
    endpoints = Endpoints(["a", "b"])
    endpoints.failed("b", 0.0)
    endpoints.failed("a", 1.0)
    assert endpoints.in_order(2.0) == ("a", "b")


def test_an_address_that_answers_is_in_use_and_forgiven():
    endpoints = Endpoints(["a", "b"])
    endpoints.failed("a", 0.0)
    endpoints.answered("a")
    assert (endpoints.in_use, endpoints.in_order(1.0)) == ("a", ("a", "b"))
