"""Bridges, cables and addresses, by netlink. One bridge per datacenter; the outer namespace routes between them."""

from __future__ import annotations

import ipaddress
import zlib
from pathlib import Path

from pyroute2 import IPRoute

from lab.topology import HostSpec, Topology

UP = "up"
MAX_LINK_NAME = 15  # IFNAMSIZ with its zero at the end


def ipv6_of(address: str) -> str:
    """Return the IPv6 address beside an IPv4 one: 10.77.1.12 -> fd77::10:77:1:12."""
    return "fd77::" + ":".join(str(ipaddress.IPv4Address(address)).split("."))


def cable_of(name: str) -> str:
    """Return the name of a host's cable at its bridge, within the 15 characters the kernel has for it.

    Names that are longer end in a digest of the whole, so that notification-1 and notification-2 have a cable each.
    """
    plain = f"v-{name}"
    return plain if len(plain) <= MAX_LINK_NAME else f"{plain[:7]}{zlib.crc32(name.encode()):08x}"


def make_bridges(topology: Topology) -> None:
    """Make one bridge per datacenter in this (outer) network namespace, and let it route between them."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    with IPRoute() as ip:
        ip.link("set", index=1, state=UP)
        for name in topology.datacenters:
            ip.link("add", ifname=name, kind="bridge")
            index = ip.link_lookup(ifname=name)[0]
            ip.addr("add", index=index, address=topology.gateway(name), prefixlen=topology.prefix_len(name))
            ip.link("set", index=index, state=UP)


def plug_in(host: HostSpec, pid: int) -> None:
    """Lay a cable from the bridge of a host's datacenter into the network namespace of process `pid`."""
    with IPRoute() as ip:
        outer = cable_of(host.name)
        ip.link("add", ifname=outer, kind="veth", peer={"ifname": "eth0", "net_ns_pid": pid})
        bridge = ip.link_lookup(ifname=host.datacenter)[0]
        ip.link("set", index=ip.link_lookup(ifname=outer)[0], master=bridge, state=UP)


def configure(host: HostSpec, topology: Topology) -> None:
    """Inside the host: loopback, its addresses, the way to the other datacenters."""
    with IPRoute() as ip:
        ip.link("set", index=1, state=UP)
        Path("/proc/sys/net/ipv6/conf/eth0/accept_dad").write_text("0")
        index = ip.link_lookup(ifname="eth0")[0]
        ip.addr("add", index=index, address=host.address, prefixlen=topology.prefix_len(host.datacenter))
        ip.addr("add", index=index, address=ipv6_of(host.address), prefixlen=64)
        ip.link("set", index=index, state=UP)
        ip.route("add", dst="default", gateway=topology.gateway(host.datacenter))
