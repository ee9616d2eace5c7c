"""agent.json: defaults, round trip, and errors that name the key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mesh.agent.dataplane import bootstrap_of
from mesh.agent.service import read_service
from mesh.agent.settings import read_settings, to_json
from mesh.base.errors import ConfigError
from mesh.xds.bootstrap import read_bootstrap, write_bootstrap

LEAST = {
    "host": "payment-1",
    "address": "10.77.1.13",
    "datacenter": "east",
    "control_plane": {"address": "10.77.1.2"},
}


def write(tmp_path: Path, document: object) -> Path:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(document))
    return path


def test_the_least_that_works_and_its_defaults(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path, LEAST))
    assert settings.control_plane.grpc_target == "10.77.1.2:8502"
    assert settings.control_plane.join_target == "10.77.1.2:8503"
    assert settings.socket == Path("/run/mesh/agent.sock")
    assert settings.dns.port == 15053
    path = tmp_path / "again.json"
    path.write_text(to_json(settings))
    assert read_settings(path) == settings


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"hots": "x"}, "hots", id="a misspelt key"),
        pytest.param({"address": "payment-1"}, "address", id="a name in place of an address"),
        pytest.param({"control_plane": {}}, "control_plane.address", id="a key left out inside"),
        pytest.param({"dns": {"address": "127.0.0.1", "port": 0}}, "dns.port", id="no port"),
        pytest.param(
            {"dns": {"address": "127.0.0.1", "port": 53, "forward_to": ["9.9.9.9"] * 4}}, "dns.forward_to", id="four"
        ),
        pytest.param({"excluded_inbound_ports": [22, 0]}, "excluded_inbound_ports.1", id="an excluded port 0"),
        pytest.param({"operator_networks": ["192.168.121.5/24"]}, "operator_networks.0", id="an address, no network"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, change: dict[str, object], says: str) -> None:
    path = write(tmp_path, {**LEAST, **change})
    with pytest.raises(ConfigError, match=says) as caught:
        read_settings(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such"):
        read_settings(tmp_path / "no-such.json")


def test_the_bootstrap_names_the_control_planes_identity(tmp_path: Path) -> None:
    values = bootstrap_of(read_settings(write(tmp_path, LEAST)), "payment-service")
    assert values.node_id == "payment-1/payment-service"
    assert values.control_plane_id == "spiffe://dominos.internal/ns/mesh/sa/control-plane"
    assert read_bootstrap(write_bootstrap(values)) == values


def test_a_host_has_one_service(tmp_path: Path) -> None:
    path = tmp_path / "service.hcl"
    path.write_text('service { name = "payment-service" port = 8080 }')
    assert read_service(path).port == 8080
    path.write_text('service { name = "a" port = 1 }\nservice { name = "b" port = 2 }')
    with pytest.raises(ConfigError, match="2 services"):
        read_service(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_service(tmp_path / "none.hcl")
