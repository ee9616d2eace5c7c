"""The route of the virtual addresses: found by its mark, added by one command, told when it is missing."""

from __future__ import annotations

import json

import pytest

from mesh.base.errors import RemoteProtocolError
from mesh.redirect.route import VirtualRoute, device_of, missing, removals
from mesh.redirect.verify import Fault

ADDRESSES = json.dumps(
    [
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}]},
        {"ifname": "eth0", "addr_info": [{"local": "192.168.121.57"}]},
        {"ifname": "eth1", "addr_info": [{"local": "10.77.1.99"}, {"local": "10.77.1.13"}]},
        {"ifname": "eth2"},
    ]
)


@pytest.mark.parametrize(
    ("address", "device"),
    [
        pytest.param("10.77.1.13", "eth1", id="a second address of an interface"),
        pytest.param("192.168.121.57", "eth0", id="a first one"),
        pytest.param("10.77.1.1", "", id="nobody's, though another begins like it"),
    ],
)
def test_the_interface_is_the_one_that_has_the_address(address: str, device: str) -> None:
    assert device_of(address, ADDRESSES) == device


def test_only_what_carries_our_mark_is_removed_and_nothing_printed_is_nothing_to_do() -> None:
    printed = json.dumps([{"dst": "240.0.0.0/4", "dev": "eth0", "protocol": "77"}])
    assert removals(printed) == (("ip", "-4", "route", "del", "240.0.0.0/4", "dev", "eth0", "proto", "77"),)
    assert removals("") == removals("[]") == ()


@pytest.mark.parametrize("printed", ["{", "{}", "[1]"])
def test_what_ip_does_not_print_is_refused(printed: str) -> None:
    with pytest.raises(RemoteProtocolError, match="ip -json"):
        removals(printed)


def test_a_missing_route_is_a_finding_that_names_it() -> None:
    finding = missing(VirtualRoute("eth1", "10.77.1.13"))
    assert (finding.fault, finding.table) == (Fault.MISSING, "route")
    assert "240.0.0.0/4 dev eth1" in finding.text
