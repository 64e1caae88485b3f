"""What a cluster on one machine is made of: its variables, its secrets, its market that goes on."""

import socket
import stat

import pytest

import servers
import services


def test_the_first_start_makes_the_variables_and_every_later_one_keeps_them(tmp_path):
    made = services.environment_of(tmp_path)
    assert services.environment_of(tmp_path) == made


def test_what_a_person_wrote_into_the_file_holds(tmp_path):
    services.environment_of(tmp_path)
    file = tmp_path / "environment"
    file.write_text("TAPEHOUSE_API_PORT=8123\n")
    environment = services.environment_of(tmp_path)
    assert environment["TAPEHOUSE_API_PORT"] == "8123"
    assert environment["AWS_ACCESS_KEY_ID"]


def test_only_their_owner_reads_the_keys(tmp_path):
    services.environment_of(tmp_path)
    assert stat.S_IMODE((tmp_path / "environment").stat().st_mode) == 0o600


def test_two_clusters_have_different_keys(tmp_path):
    first, second = (services.environment_of(tmp_path / name) for name in ("first", "second"))
    assert first["AWS_SECRET_ACCESS_KEY"] != second["AWS_SECRET_ACCESS_KEY"]


def test_a_port_that_is_taken_is_given_to_nobody():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        assert services.preferred(taken) != taken


def test_a_server_takes_no_port_that_a_connection_going_out_could_take():
    given = [servers.free_port() for _ in range(50)]
    assert len(set(given)) == 50
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert max(given) < 32_768 <= listener.getsockname()[1]


def test_a_cluster_that_asks_for_free_ports_takes_none_of_the_usual_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("CLUSTER_PORTS", "free")
    given = services.environment_of(tmp_path).values()
    assert not {str(port) for port in services.PORTS.values()} & {value.rpartition(":")[2] for value in given}


@pytest.mark.parametrize("live", [True, False])
def test_live_takes_the_addresses_of_whoever_starts_it_else_the_exchange_in_the_box(tmp_path, monkeypatch, live):
    monkeypatch.setenv("TAPEHOUSE_BINANCE_WS_URL", "ws://127.0.0.1:1")
    waves = services.services(tmp_path, services.environment_of(tmp_path), live=live)
    programs = {program.folder.name: program for wave in waves for program in wave}
    assert ("exchange" in programs) is not live
    assert (programs["produce"].variables()["TAPEHOUSE_BINANCE_WS_URL"] == "ws://127.0.0.1:1") is live


def test_the_file_names_the_exchange_in_the_box_as_long_as_the_cluster_follows_it(tmp_path):
    services.with_its_upstreams(tmp_path, live=False)
    boxed = services.environment_of(tmp_path)
    box = f"http://127.0.0.1:{boxed['CLUSTER_EXCHANGE_PORT']}"
    assert boxed["TAPEHOUSE_BINANCE_REST_URL"] == boxed["TAPEHOUSE_BINANCE_ARCHIVE_URL"] == box
    file = tmp_path / "environment"
    file.write_text(file.read_text() + "TAPEHOUSE_NEWSAPI_URL=http://127.0.0.1:1\n")
    live = services.with_its_upstreams(tmp_path, live=True)
    assert services.environment_of(tmp_path) == live
    assert not [value for value in live.values() if value.startswith(box)]
    assert live["TAPEHOUSE_NEWSAPI_URL"] == "http://127.0.0.1:1"


def test_an_exchange_that_starts_again_within_half_a_minute_plays_the_same_market():
    from tapehouse.exchange.generator import GeneratedTape, GeneratorOptions
    from tapehouse.market.windows import MINUTE, SECOND

    since = 1_800_000_000 - 1_800_000_000 % 60

    def market(started, takes):
        arguments = services.exchange_arguments(9100, since, now=started)
        history = int(arguments[arguments.index("--history") + 1])
        return GeneratedTape(GeneratorOptions(starts_at=int((started + takes - history) * SECOND), rate=services.RATE))

    first, again = market(since + 900, takes=0.2), market(since + 5000.7, takes=30)
    between = ((since + 900) * SECOND, (since + 900) * SECOND + MINUTE)
    assert first.between(*between).equals(again.between(*between))


def test_every_variable_that_is_passed_on_is_a_setting(tmp_path):
    from tapehouse.settings import Settings, variable_of

    known = {variable_of(field) for field in Settings.model_fields}
    given = {name for name in services.environment_of(tmp_path) if not name.startswith("CLUSTER_")}
    assert given - known == set()
