"""The Compose file: equal to the topology, and nowhere softer than it says."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from lab.compose.render import ROOT_MAY, compose_text, ipv6_of, is_in_image, network_of, units_of_host
from lab.driver import checkout
from lab.topology import HostSpec, Publish, Role, Topology, load
from lab.units import ENVOY_OPTIONS, units_of
from mesh.base import ports

TOPOLOGY = load(checkout() / "lab" / "topology.yaml")
SERVICE_HOSTS = [host.name for host in TOPOLOGY.services]


def parsed(topology: Topology = TOPOLOGY) -> dict[str, Any]:
    """Return the Compose file as values, anchors resolved."""
    found: dict[str, Any] = YAML(typ="safe").load(compose_text(topology))
    return found


FILE = parsed()
SERVICES: dict[str, dict[str, Any]] = FILE["services"]


def test_the_file_of_the_checkout_is_the_one_of_the_topology() -> None:
    assert (checkout() / "compose.yaml").read_text() == compose_text(TOPOLOGY), "make compose-file writes it anew"


def test_every_host_has_its_container_address_and_units_in_starting_order() -> None:
    names = list(SERVICES)
    for host in TOPOLOGY.hosts.values():
        assert SERVICES[host.name]["hostname"] == host.name
        assert SERVICES[host.name]["networks"]["lab"]["ipv4_address"] == host.address
        units = [name for name in names if name.startswith(f"{host.name}-") and not name.endswith(("-door", "-root"))]
        assert units == [f"{host.name}-{unit}" for unit in units_of_host(host)]
        assert list(units_of_host(host)) == [unit.name for unit in units_of(host, "")], "the same units on every driver"


def test_a_host_may_have_envoy_in_the_sidecars_place_with_the_same_user_and_folders() -> None:
    mixed = parsed(TOPOLOGY.with_sidecars("payment-1=envoy"))["services"]
    envoy, sidecar = mixed["payment-1-sidecar"], SERVICES["payment-1-sidecar"]
    assert envoy["command"] == list(ENVOY_OPTIONS)
    assert envoy["image"].startswith("${IMAGE_ENVOY:")
    own = {"command", "image"}
    assert {k: v for k, v in envoy.items() if k not in own} == {k: v for k, v in sidecar.items() if k not in own}
    assert {name: one for name, one in mixed.items() if name != "payment-1-sidecar"} == {
        name: one for name, one in SERVICES.items() if name != "payment-1-sidecar"
    }


def test_nothing_runs_that_the_topology_does_not_name() -> None:
    known = {f"{host.name}-{unit}" for host in TOPOLOGY.hosts.values() for unit in units_of_host(host)}
    doors = {f"{host.name}-door" for host in TOPOLOGY.hosts.values() if host.publish} | {"door"}
    roots = {f"{name}-root" for name in TOPOLOGY.hosts}
    assert set(SERVICES) == set(TOPOLOGY.hosts) | known | doors | roots
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["root"]} == roots


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    may = {"redirect": ["NET_ADMIN"], "root": list(ROOT_MAY)}.get(name.rpartition("-")[2], [])
    assert service.get("cap_add", []) == may
    assert not service.get("privileged")
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].replace(":", "").isdecimal(), "by number: the host's list of users is not asked"
    assert 0 < service["pids_limit"] <= 512
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]
    assert {"devices", "ipc", "userns_mode", "volumes_from", "env_file"}.isdisjoint(service)


def test_only_interception_and_the_doors_are_root_and_whoever_asks_for_it() -> None:
    root = {name for name, service in SERVICES.items() if service["user"].startswith("0")}
    assert root == {name for name in SERVICES if name.endswith(("-redirect", "door", "-root"))}


def test_what_root_may_is_less_than_a_machines_root() -> None:
    assert {"SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "MKNOD", "SYS_BOOT", "BPF"}.isdisjoint(ROOT_MAY)


@pytest.mark.parametrize("name", SERVICES)
def test_no_folder_of_this_machine_is_seen_but_the_operators(name: str) -> None:
    volumes = [entry.partition(":")[0] for entry in SERVICES[name].get("volumes", [])]
    foreign = [entry for entry in SERVICES[name].get("volumes", []) if entry[0] in "./$~"]
    is_plane = name in ("cp-1", "cp-1-control-plane", "cp-1-root")
    assert foreign == (["${MESHYARD_FOLDER:-./.lab/default}/control-plane:/run/mesh"] if is_plane else [])
    assert all(volume in FILE["volumes"] for volume in volumes if volume[0] not in "./$~")


@pytest.mark.parametrize("host", SERVICE_HOSTS)
def test_the_units_of_a_host_share_its_network_and_its_processes(host: str) -> None:
    for unit in ("redirect", "agent", "sidecar", "probe", "app"):
        service = SERVICES[f"{host}-{unit}"]
        assert service["network_mode"] == service["pid"] == f"service:{host}"
        assert "networks" not in service
        assert "ports" not in service


@pytest.mark.parametrize("host", SERVICE_HOSTS)
def test_the_order_of_trust(host: str) -> None:
    def waits(unit: str) -> dict[str, Any]:
        return {name: on["condition"] for name, on in SERVICES[f"{host}-{unit}"]["depends_on"].items()}

    done = "service_completed_successfully"
    assert waits("redirect") == {host: "service_started"}
    assert waits("agent") == waits("sidecar") == waits("probe") == {f"{host}-redirect": done}
    assert waits("app") == {f"{host}-probe": done}


@pytest.mark.parametrize("host", SERVICE_HOSTS)
def test_a_unit_sees_the_folders_it_needs(host: str) -> None:
    def seen(unit: str) -> dict[str, str]:
        entries = [entry.split(":") for entry in SERVICES[f"{host}-{unit}"].get("volumes", [])]
        return {path: mode.partition(",")[0] for _, path, mode in entries}

    assert seen("app") == {"/var/lib/app": "rw"}, "no file, no socket, no key of the mesh"
    assert seen("probe") == {}
    assert seen("redirect") == {"/etc/mesh": "ro"}
    assert seen("sidecar") == {"/run/mesh": "ro", "/var/log/mesh": "rw"}
    assert seen("agent") == {"/etc/mesh": "rw", "/run/mesh": "rw", "/var/lib/mesh": "rw"}


def test_users_are_those_of_every_other_kind_of_host() -> None:
    for unit in units_of(TOPOLOGY.hosts["order-1"], ""):
        assert SERVICES[f"order-1-{unit.name}"]["user"] == f"{unit.uid}:{unit.gid}"
    assert SERVICES["cp-1-control-plane"]["user"] == f"{ports.UID_CONTROL_PLANE}:{ports.UID_CONTROL_PLANE}"


def test_nothing_is_published_but_on_the_loopback_and_by_the_door() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["door"]
    assert published["door"] == [
        "127.0.0.1:${MESHYARD_PORT_18500-18500}:18500",
        "127.0.0.1:${MESHYARD_PORT_18080-18080}:18080",
    ]


def test_the_lab_and_the_door_have_no_network_in_common() -> None:
    assert FILE["networks"]["lab"]["internal"] is True
    on_outside = [name for name, service in SERVICES.items() if "outside" in service.get("networks", ())]
    assert on_outside == ["door"]
    assert SERVICES["door"]["networks"] == ["outside"]


def test_a_lab_without_published_ports_has_no_door_and_no_network_for_it() -> None:
    part = TOPOLOGY.only(["cp-1", "payment-1"])
    plain = Topology(
        part.trust_domain,
        part.namespace,
        part.datacenters,
        {
            name: HostSpec(h.name, h.datacenter, h.address, h.role, h.service, h.service_dir)
            for name, h in part.hosts.items()
        },
        part.settings,
    )
    found = parsed(plain)
    assert not [name for name in found["services"] if name.endswith("door")]
    assert list(found["networks"]) == ["lab"]
    assert "doors" not in found["volumes"]


def test_a_service_from_elsewhere_is_brought_beside_the_code_it_shares() -> None:
    new = HostSpec(
        "stock-1", "east", "10.77.1.100", Role.SERVICE, "stock", "/home/me/stock", (Publish(1, "loopback", 2),)
    )
    assert not is_in_image(new)
    service = parsed(TOPOLOGY.with_host(new))["services"]["stock-1-app"]
    assert service["command"] == ["/srv/demo-services/brought/app.py"]
    assert "stock-1-service:/srv/demo-services/brought:ro,nocopy" in service["volumes"]


@pytest.mark.parametrize(
    ("datacenters", "network"),
    [
        pytest.param({"a": "10.77.1.0/24", "b": "10.77.2.0/24"}, "10.77.0.0/16", id="as in the lab's own topology"),
        pytest.param({"a": "10.77.1.0/24"}, "10.77.0.0/16", id="one datacenter"),
        pytest.param({"a": "10.76.1.0/24", "b": "10.77.1.0/24"}, "10.76.0.0/15", id="neighbours share a wider one"),
        pytest.param({"a": "10.0.0.0/12"}, "10.0.0.0/12", id="a datacenter that is wider itself"),
    ],
)
def test_one_network_holds_every_datacenter(datacenters: dict[str, str], network: str) -> None:
    topology = Topology("d", "n", datacenters, {}, {})
    assert network_of(topology) == network


def test_a_host_has_the_same_ipv6_address_as_on_namespaces() -> None:
    from lab.netns import links

    assert ipv6_of("10.77.1.12") == links.ipv6_of("10.77.1.12")
