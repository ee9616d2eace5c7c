"""The settings file: what it may say, and how it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mesh.base.errors import ConfigError
from mesh.controlplane.settings import load_settings

GOOD = {"datacenter": "east", "datacenters": ["east", "west"], "address": "10.77.1.2"}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "control-plane.json"
    path.write_text(text)
    return path


def test_defaults(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, json.dumps(GOOD)))
    assert (settings.http_port, settings.grpc_port, settings.join_port) == (8500, 8502, 8503)
    assert settings.leaf_ttl_s == 86400
    assert settings.rejoin_ttl_s == 7 * 86400
    assert settings.socket_group is None
    assert settings.all_datacenters == ("east", "west")
    assert str(settings.identity) == "spiffe://dominos.internal/ns/mesh/sa/control-plane"
    assert settings.token_file == Path("/var/lib/mesh/control-plane/management-token")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"leaf_ttl": "1 day"}, "leaf_ttl", id="a wrong duration"),
        pytest.param({"leaf_ttl": "9000h"}, "outlives", id="a leaf that would outlive its issuer"),
        pytest.param({"datacenter": "East!"}, "datacenter", id="a name that is no label"),
        pytest.param({"address": "localhost"}, "address", id="an address that is a name"),
        pytest.param({"tls": False}, "tls", id="an unknown field"),
        pytest.param({"socket_group": -1}, "socket_group", id="a group that is none"),
        pytest.param({"rejoin_ttl": "0s"}, "rejoin_ttl", id="a rejoin secret without a life"),
        pytest.param({"trust_domain": "Dominos"}, "trust_domain", id="a trust domain in capitals"),
    ],
)
def test_refusals_name_file_and_field(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = written(tmp_path, json.dumps({**GOOD, **change}))
    with pytest.raises(ConfigError, match=words) as refused:
        load_settings(path)
    assert refused.value.at is not None
    assert refused.value.at.path == str(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"'])
def test_what_is_no_settings_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_settings(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_settings(tmp_path / "nowhere.json")
