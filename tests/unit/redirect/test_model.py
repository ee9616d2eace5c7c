"""A plan that would leave a hole does not come into being."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.base.errors import ConfigError
from mesh.redirect.model import Family, RedirectPlan, Rule

GOOD: dict[str, Any] = {
    "host_address": "10.77.1.13",
    "control_plane_address": "10.77.1.2",
    "application_ports": (8080,),
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"host_address": "fd00::1"}, "not an IPv4 address", id="an IPv6 host address"),
        pytest.param({"control_plane_address": "cp-1"}, "not an IPv4 address", id="a name in place of an address"),
        pytest.param({"resolver_address": ""}, "not an IPv4 address", id="an empty resolver"),
        pytest.param({"application_ports": (0,)}, "0 is not a port", id="port 0"),
        pytest.param({"control_plane_ports": (70000,)}, "70000 is not a port", id="a port too large"),
        pytest.param({"application_uid": 1337}, "application run as", id="the application with the sidecar's user"),
        pytest.param({"agent_uid": 0}, "application run as", id="the agent as root"),
        pytest.param({"excluded_inbound_ports": (8080,)}, "port of the mesh itself", id="the application excluded"),
        pytest.param({"excluded_inbound_ports": (15000,)}, "port of the mesh itself", id="the admin port excluded"),
        pytest.param({"excluded_inbound_ports": (65536,)}, "65536 is not a port", id="an excluded port too large"),
        pytest.param({"forward_to": ("127.0.0.1",)}, "this host or the mesh", id="names forwarded to the agent itself"),
        pytest.param({"forward_to": ("10.77.1.13",)}, "this host or the mesh", id="names forwarded to this host"),
        pytest.param({"forward_to": ("240.0.0.1",)}, "this host or the mesh", id="names forwarded to a service"),
        pytest.param({"forward_to": ("fd00::1",)}, "not an IPv4 address", id="an IPv6 resolver"),
        pytest.param({"operator_networks": ("10.0.0.1/8",)}, "has host bits set", id="an address for a network"),
        pytest.param({"operator_networks": ("0.0.0.0/0",)}, "holds virtual addresses", id="everything, the mesh too"),
        pytest.param({"management_interfaces": ("eth+",)}, "no interface to manage", id="a pattern of interfaces"),
        pytest.param({"management_interfaces": ("lo",)}, "no interface to manage", id="loopback as management"),
        pytest.param({"management_interfaces": ("eth0 -j ACCEPT",)}, "no interface to manage", id="a rule in a name"),
        pytest.param(
            {"management_interfaces": ("eth0",), "application_uid": 999}, "user 999 of the mesh", id="a system user"
        ),
        pytest.param(
            {"operator_networks": ("10.1.0.0/16",), "agent_uid": 100}, "user 100 of the mesh", id="the agent as one"
        ),
    ],
)
def test_a_bad_plan_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        RedirectPlan(**{**GOOD, **change})


def test_a_good_plan_and_its_own_ports() -> None:
    assert RedirectPlan(**GOOD).own_ports == (15000, 15001, 15006)


def test_a_rule_knows_whether_it_is_an_entry() -> None:
    rule = Rule(Family.V4, "nat", "OUTPUT", "", "MESHYARD_OUTPUT", "enter", "Because.")
    assert rule.is_entry
    assert rule.specification == "-j MESHYARD_OUTPUT"
    assert Family.V6.program_prefix == "ip6tables"
