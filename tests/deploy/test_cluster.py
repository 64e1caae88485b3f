import json

import cluster


def test_who_starts_a_cluster_of_which_a_service_is_paused_is_told_and_not_kept_waiting(tmp_path, capsys):
    services = {"object-store": {"state": "paused"}, "stream": {"state": "starting"}}
    (tmp_path / "status.json").write_text(json.dumps({"pid": 1, "failed": None, "services": services}))
    assert cluster.follow(tmp_path, None)["services"] == services
    said = capsys.readouterr()
    assert "make cluster-resume SERVICE=object-store" in said.out + said.err
