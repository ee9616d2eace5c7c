"""Whose the lab's addresses are."""

from __future__ import annotations

from typing import Any

import pytest

from lab.compose.subnets import holder


def network(name: str, *subnets: str) -> dict[str, Any]:
    return {"Name": name, "IPAM": {"Config": [{"Subnet": subnet} for subnet in subnets]}}


@pytest.mark.parametrize(
    ("wanted", "networks", "found"),
    [
        pytest.param("10.77.0.0/16", [network("bridge", "172.17.0.0/16")], "", id="somewhere else"),
        pytest.param("10.77.0.0/16", [network("vpn", "10.77.3.0/24")], "vpn", id="a part of it is taken"),
        pytest.param("10.77.0.0/16", [network("office", "10.0.0.0/8")], "office", id="it is a part of another"),
        pytest.param("fd77::/64", [network("both", "10.1.0.0/16", "fd77::/80")], "both", id="IPv6 counts too"),
        pytest.param("10.77.0.0/16", [network("v6", "fd77::/64")], "", id="the other family does not"),
        pytest.param(
            "10.77.0.0/16", [{"Name": "host", "IPAM": {"Config": None}}], "", id="a network without addresses"
        ),
        pytest.param("10.77.0.0/16", [{"Name": "odd", "IPAM": {"Config": [{}]}}], "", id="one that names none"),
    ],
)
def test_who_has_the_addresses(wanted: str, networks: list[dict[str, Any]], found: str) -> None:
    assert holder(wanted, networks) == found
