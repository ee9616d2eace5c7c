"""Which packets the planned rules let pass, and where they end up: every way round the mesh as a row."""

from __future__ import annotations

import pytest

from mesh.redirect.model import Family, RedirectPlan
from mesh.redirect.plan import all_rules, rules_of
from tests.fakes.iptables import Packet, arrive, leave

ROOT, AGENT, SIDECAR, APP, OTHER = 0, 1336, 1337, 1338, 1001
HERE, FAR, CONTROL_PLANE = "10.77.1.13", "10.77.1.14", "10.77.1.2"
PLAN = RedirectPlan(HERE, CONTROL_PLANE, (8080,))


def local(**fields: object) -> Packet:
    return Packet(source="127.0.0.1", interface="lo", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("packet", "ends"),
    [
        pytest.param(Packet(uid=APP), "port 15001", id="the application dials a virtual address: its sidecar"),
        pytest.param(Packet(uid=APP, destination=FAR), "port 15001", id="the application dials a host directly"),
        pytest.param(Packet(uid=APP, destination="1.1.1.1", port=443), "port 15001", id="the application dials out"),
        pytest.param(Packet(uid=APP, destination=FAR, port=15006), "port 15001", id="it dials a far inbound listener"),
        pytest.param(
            Packet(uid=APP, destination=CONTROL_PLANE, port=8502), "port 15001", id="it dials the control plane"
        ),
        pytest.param(Packet(uid=APP, protocol="udp", port=443), "refused", id="QUIC of the application"),
        pytest.param(Packet(uid=APP, protocol="icmp", port=8), "refused", id="ping by the application"),
        pytest.param(Packet(uid=APP, protocol="sctp"), "refused", id="another transport"),
        pytest.param(
            Packet(uid=APP, protocol="udp", destination="8.8.8.8", port=53), "refused", id="a foreign resolver"
        ),
        pytest.param(Packet(uid=OTHER), "refused", id="another user dials a virtual address"),
        pytest.param(Packet(uid=ROOT), "refused", id="root dials a virtual address"),
        pytest.param(
            Packet(uid=OTHER, destination=CONTROL_PLANE, port=8502), "refused", id="another user dials the CA"
        ),
        pytest.param(Packet(uid=AGENT, destination=CONTROL_PLANE, port=8502), "port 8502", id="the agent renews"),
        pytest.param(Packet(uid=AGENT, destination=CONTROL_PLANE, port=8503), "port 8503", id="the agent joins"),
        pytest.param(Packet(uid=AGENT, destination=CONTROL_PLANE, port=8500), "refused", id="the agent wants the API"),
        pytest.param(Packet(uid=AGENT, destination=FAR, port=8502), "refused", id="the agent dials another host"),
        pytest.param(Packet(uid=SIDECAR, destination=FAR), "port 8080", id="the sidecar dials another host"),
        pytest.param(Packet(uid=SIDECAR, destination=FAR, protocol="udp"), "refused", id="UDP with the sidecar's user"),
        pytest.param(
            Packet(uid=None, states=frozenset({"RELATED"}), protocol="icmp"), "port 8080", id="an error of ours"
        ),
        pytest.param(Packet(uid=None), "refused", id="a packet without a socket"),
    ],
)
def test_leaving(packet: Packet, ends: str) -> None:
    assert leave(rules_of(PLAN, Family.V4), packet) == ends


@pytest.mark.parametrize(
    ("packet", "ends"),
    [
        pytest.param(
            local(uid=OTHER, protocol="udp", destination="127.0.0.1", port=53), "port 15053", id="a name, UDP"
        ),
        pytest.param(local(uid=APP, destination="127.0.0.1", port=53), "port 15053", id="a name, TCP"),
        pytest.param(
            Packet(uid=SIDECAR, source="127.0.0.6", destination="127.0.0.1", interface="lo"),
            "port 8080",
            id="the sidecar delivers",
        ),
        pytest.param(local(uid=SIDECAR, destination=HERE), "port 15006", id="a self-call passes through policy"),
        pytest.param(local(uid=SIDECAR, destination=HERE, port=15002), "port 15006", id="so does the probe"),
        pytest.param(local(uid=SIDECAR, destination="127.0.0.1"), "refused", id="the sidecar's user, not delivering"),
        pytest.param(local(uid=AGENT, destination="127.0.0.1"), "port 8080", id="the agent checks health"),
        pytest.param(local(uid=APP, destination="127.0.0.1"), "port 8080", id="the application calls itself"),
        pytest.param(local(uid=APP, destination=HERE), "port 8080", id="by its own address too"),
        pytest.param(local(uid=ROOT, destination="127.0.0.1"), "port 8080", id="root's port forward"),
        pytest.param(local(uid=OTHER, destination="127.0.0.1"), "refused", id="another user, over loopback"),
        pytest.param(local(uid=OTHER, destination=HERE), "refused", id="another user, by the host's address"),
        pytest.param(
            Packet(uid=OTHER, source="127.0.0.6", destination="127.0.0.1", interface="lo"),
            "refused",
            id="another user in the sidecar's clothes",
        ),
        pytest.param(local(uid=APP, destination="127.0.0.1", port=15001), "refused", id="the outbound port by hand"),
        pytest.param(local(uid=OTHER, destination="127.0.0.1", port=15001), "refused", id="by another user"),
        pytest.param(local(uid=APP, destination=HERE, port=15006), "refused", id="the inbound port by hand"),
        pytest.param(local(uid=AGENT, destination="127.0.0.1", port=15000), "port 15000", id="the agent asks ready"),
        pytest.param(local(uid=ROOT, destination="127.0.0.1", port=15000), "port 15000", id="root looks at admin"),
        pytest.param(local(uid=APP, destination="127.0.0.1", port=15000), "refused", id="the application wants admin"),
        pytest.param(local(uid=APP, destination="127.0.0.1", port=15020), "port 15020", id="a TTL check reports"),
        pytest.param(local(uid=OTHER, destination="127.0.0.1", port=5432), "port 5432", id="other local talk"),
    ],
)
def test_loopback(packet: Packet, ends: str) -> None:
    assert leave(rules_of(PLAN, Family.V4), packet) == ends


@pytest.mark.parametrize(
    ("packet", "ends"),
    [
        pytest.param(Packet(destination=HERE), "port 15006", id="the application's port: the sidecar"),
        pytest.param(Packet(destination=HERE, port=22), "port 15006", id="any port: the sidecar"),
        pytest.param(Packet(destination=HERE, port=15020), "port 15020", id="the agent's health"),
        pytest.param(Packet(destination=HERE, port=15000), "refused", id="admin from outside"),
        pytest.param(Packet(destination=HERE, port=15001), "refused", id="no relay"),
        pytest.param(Packet(destination=HERE, port=15006), "refused", id="the inbound listener by its own port"),
        pytest.param(Packet(destination=HERE, protocol="udp", port=15053), "refused", id="DNS from outside"),
        pytest.param(Packet(destination=HERE, protocol="udp"), "refused", id="UDP"),
        pytest.param(Packet(destination=HERE, protocol="icmp", port=8), "port 8", id="ping"),
        pytest.param(Packet(destination=HERE, protocol="icmp", port=13), "refused", id="other ICMP"),
        pytest.param(Packet(destination=HERE, states=frozenset({"INVALID"})), "refused", id="an invalid packet"),
    ],
)
def test_arriving(packet: Packet, ends: str) -> None:
    assert arrive(rules_of(PLAN, Family.V4), packet) == ends


@pytest.mark.parametrize(
    ("uid", "protocol", "port", "ends"),
    [
        pytest.param(SIDECAR, "tcp", 15006, "port 40001", id="the sidecar accepts a far sidecar"),
        pytest.param(SIDECAR, "tcp", 15001, "port 40001", id="the sidecar accepts the application"),
        pytest.param(OTHER, "tcp", 15006, "refused", id="another user took the inbound port"),
        pytest.param(APP, "tcp", 15006, "refused", id="the application took it, to be reached in plain text"),
        pytest.param(OTHER, "tcp", 15001, "refused", id="another user took the outbound port"),
        pytest.param(OTHER, "tcp", 15000, "refused", id="another user plays the admin port"),
        pytest.param(OTHER, "udp", 15053, "refused", id="another user answers names, UDP"),
        pytest.param(APP, "tcp", 15053, "refused", id="the application answers names, TCP"),
        pytest.param(AGENT, "udp", 15053, "port 40001", id="the agent answers names"),
        pytest.param(OTHER, "tcp", 8080, "refused", id="another user took the application's port"),
        pytest.param(APP, "tcp", 8080, "port 40001", id="the application accepts"),
        pytest.param(None, "tcp", 15006, "port 40001", id="a SYN cookie keeps a flooded sidecar reachable"),
        pytest.param(None, "tcp", 15001, "refused", id="a SYN cookie of whoever took the outbound port"),
        pytest.param(OTHER, "tcp", 5432, "port 40001", id="another service of the host accepts on its own port"),
    ],
)
@pytest.mark.parametrize("interface", ["lo", "eth0"])
def test_who_may_accept(uid: int | None, protocol: str, port: int, ends: str, interface: str) -> None:
    assert leave(FILTER_ONLY, answer(uid, protocol, port, interface, "SYN", "ACK")) == ends


@pytest.mark.parametrize("flags", [("RST", "ACK"), ("ACK",), ("FIN", "ACK")])
def test_the_kernels_own_answers_have_no_owner_and_pass(flags: tuple[str, ...]) -> None:
    assert leave(FILTER_ONLY, answer(None, "tcp", 15001, "lo", *flags)) == "port 40001"


FILTER_ONLY = tuple(rule for rule in rules_of(PLAN, Family.V4) if rule.table == "filter")


def answer(uid: int | None, protocol: str, port: int, interface: str, *flags: str) -> Packet:
    return Packet(
        uid=uid, protocol=protocol, source_port=port, destination=FAR, port=40001, interface=interface,
        states=frozenset({"ESTABLISHED"}), flags=frozenset(flags),
    )  # fmt: skip


@pytest.mark.parametrize("packet", [Packet(uid=APP), Packet(uid=OTHER), Packet(uid=AGENT)])
def test_without_table_nat_nothing_passes(packet: Packet) -> None:
    rules = tuple(rule for rule in rules_of(PLAN, Family.V4) if rule.table != "nat")
    assert leave(rules, packet) == "refused"
    assert arrive(rules, Packet(destination=HERE)) == "refused"


V6 = {"source": "fd00::13", "destination": "fd00::14"}


@pytest.mark.parametrize("uid", [ROOT, AGENT, SIDECAR, APP, OTHER, None])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "ipv6-icmp"])
def test_ipv6_is_refused_both_ways(uid: int | None, protocol: str) -> None:
    rules = rules_of(PLAN, Family.V6)
    assert leave(rules, Packet(uid=uid, protocol=protocol, port=128, **V6)) == "refused"
    assert arrive(rules, Packet(protocol=protocol, port=128, **V6)) == "refused"


def test_ipv6_neighbours_find_each_other_and_loopback_is_guarded() -> None:
    rules = rules_of(PLAN, Family.V6)
    assert leave(rules, Packet(protocol="ipv6-icmp", port=135, **V6)) == "port 135"
    assert arrive(rules, Packet(protocol="ipv6-icmp", port=136, **V6)) == "port 136"
    here = {"source": "::1", "destination": "::1", "interface": "lo"}
    assert leave(rules, Packet(uid=OTHER, **here)) == "refused"
    assert leave(rules, Packet(uid=APP, **here)) == "port 8080"
    assert leave(rules, Packet(uid=OTHER, port=5432, **here)) == "port 5432"


def test_a_resolver_that_is_no_loopback_is_turned_to_the_agent() -> None:
    rules = rules_of(RedirectPlan(HERE, CONTROL_PLANE, (8080,), resolver_address="10.77.1.1"), Family.V4)
    for protocol in ("udp", "tcp"):
        packet = Packet(uid=OTHER, protocol=protocol, destination="10.77.1.1", port=53)
        assert leave(rules, packet) == "port 15053"


MANAGED = RedirectPlan(
    HERE, CONTROL_PLANE, (8080,), excluded_inbound_ports=(15020, 22), operator_networks=("192.168.121.0/24",),
    management_interfaces=("eth0",),
)  # fmt: skip
PACKAGES, CLOCK, LEASE, TIMESYNC = "192.168.121.9", 123, 67, 997


@pytest.mark.parametrize(
    ("packet", "ends"),
    [
        pytest.param(Packet(uid=ROOT, destination=PACKAGES, interface="eth1"), "port 8080", id="root, a network"),
        pytest.param(Packet(uid=ROOT, destination="1.1.1.1", interface="eth1"), "refused", id="root, another network"),
        pytest.param(Packet(uid=ROOT, destination="1.1.1.1"), "port 8080", id="root, by the management interface"),
        pytest.param(Packet(uid=TIMESYNC, protocol="udp", destination="1.1.1.1", port=CLOCK), "port 123", id="clock"),
        pytest.param(
            Packet(uid=998, protocol="udp", destination="192.168.121.1", port=LEASE, source_port=68), "port 67",
            id="a lease is renewed",
        ),
        pytest.param(Packet(uid=ROOT), "refused", id="root dials a virtual address"),
        pytest.param(Packet(uid=ROOT, interface="eth0.7", destination="1.1.1.1"), "refused", id="an interface like it"),
        pytest.param(Packet(uid=APP, destination=PACKAGES), "port 15001", id="the application is captured as ever"),
        pytest.param(Packet(uid=APP, destination="1.1.1.1"), "port 15001", id="there too"),
        pytest.param(Packet(uid=APP, protocol="udp", destination=PACKAGES), "refused", id="the application's UDP"),
        pytest.param(
            Packet(uid=APP, protocol="udp", destination="192.168.121.1", port=LEASE, source_port=68), "refused",
            id="the application in a DHCP client's clothes",
        ),
        pytest.param(Packet(uid=APP, protocol="icmp", destination=PACKAGES, port=8), "refused", id="its ping"),
        pytest.param(Packet(uid=OTHER, destination=PACKAGES), "refused", id="another user"),
        pytest.param(Packet(uid=AGENT, destination=PACKAGES), "refused", id="the agent"),
        pytest.param(Packet(uid=SIDECAR, destination=PACKAGES, protocol="udp"), "refused", id="the sidecar's UDP"),
        pytest.param(Packet(uid=None, destination=PACKAGES), "refused", id="a packet without a socket"),
    ],
)  # fmt: skip
def test_what_the_operator_is_allowed_the_application_is_not(packet: Packet, ends: str) -> None:
    assert leave(rules_of(MANAGED, Family.V4), packet) == ends


def test_without_table_nat_the_application_leaves_by_no_management_interface() -> None:
    rules = tuple(rule for rule in rules_of(MANAGED, Family.V4) if rule.table != "nat")
    assert leave(rules, Packet(uid=APP, destination=PACKAGES)) == "refused"


@pytest.mark.parametrize(
    ("packet", "ends"),
    [
        pytest.param(Packet(destination=HERE, port=22), "port 22", id="ssh"),
        pytest.param(Packet(destination=HERE), "port 15006", id="the application: by its sidecar, on any interface"),
        pytest.param(Packet(destination=HERE, protocol="udp", port=68), "refused", id="UDP by nobody's asking"),
        pytest.param(Packet(destination=HERE, port=15000), "refused", id="the admin port"),
    ],
)
def test_arriving_at_a_managed_host(packet: Packet, ends: str) -> None:
    assert arrive(rules_of(MANAGED, Family.V4), packet) == ends


@pytest.mark.parametrize(
    ("uid", "port", "ends"),
    [
        pytest.param(ROOT, 22, "port 40001", id="ssh answers"),
        pytest.param(AGENT, 15020, "port 40001", id="the agent answers for health"),
        pytest.param(APP, 22, "refused", id="the application took the port of ssh"),
        pytest.param(APP, 15020, "refused", id="the application took the dead agent's port"),
    ],
)
def test_who_may_accept_on_an_excluded_port(uid: int, port: int, ends: str) -> None:
    rules = tuple(rule for rule in rules_of(MANAGED, Family.V4) if rule.table == "filter")
    assert leave(rules, answer(uid, "tcp", port, "eth0", "SYN", "ACK")) == ends


DOCKERS = RedirectPlan(HERE, CONTROL_PLANE, (8080,), resolver_address="127.0.0.11", forward_to=("127.0.0.11",))
LEASED = RedirectPlan(HERE, CONTROL_PLANE, (8080,), forward_to=("192.168.121.1",))


@pytest.mark.parametrize(
    ("plan", "packet", "ends"),
    [
        pytest.param(DOCKERS, local(uid=APP, destination="127.0.0.11", port=53), "port 15053", id="captured, TCP"),
        pytest.param(
            DOCKERS, local(uid=APP, protocol="udp", destination="127.0.0.11", port=53), "port 15053", id="captured"
        ),
        pytest.param(
            DOCKERS, local(uid=ROOT, protocol="udp", destination="127.0.0.11", port=53), "port 15053", id="root too"
        ),
        pytest.param(
            DOCKERS, local(uid=AGENT, protocol="udp", destination="127.0.0.11", port=53), "port 53", id="not the agent"
        ),
        pytest.param(DOCKERS, local(uid=AGENT, destination="127.0.0.11", port=53), "port 53", id="nor over TCP"),
        pytest.param(
            DOCKERS, local(uid=AGENT, protocol="udp", destination="127.0.0.11", port=41234), "port 41234",
            id="the agent, turned by Docker to its real port",
        ),
        pytest.param(
            DOCKERS, local(uid=APP, protocol="udp", destination="127.0.0.11", port=41234), "refused",
            id="the application dials Docker's real port by hand",
        ),
        pytest.param(DOCKERS, local(uid=APP, destination="127.0.0.11", port=41234), "refused", id="over TCP"),
        pytest.param(
            LEASED, Packet(uid=AGENT, protocol="udp", destination="192.168.121.1", port=53), "port 53", id="agent, far"
        ),
        pytest.param(LEASED, Packet(uid=AGENT, destination="192.168.121.1", port=53), "port 53", id="agent, far, TCP"),
        pytest.param(LEASED, Packet(uid=AGENT, destination="192.168.121.1", port=80), "refused", id="no other port"),
        pytest.param(
            LEASED, Packet(uid=AGENT, protocol="udp", destination="192.168.121.2", port=53), "refused", id="no other"
        ),
        pytest.param(
            LEASED, Packet(uid=APP, protocol="udp", destination="192.168.121.1", port=53), "refused", id="nobody else"
        ),
        pytest.param(
            LEASED, Packet(uid=ROOT, protocol="udp", destination="192.168.121.1", port=53), "refused", id="not root"
        ),
        pytest.param(
            PLAN, Packet(uid=AGENT, protocol="udp", destination="192.168.121.1", port=53), "refused", id="by default"
        ),
    ],
)  # fmt: skip
def test_only_the_agent_asks_the_resolvers(plan: RedirectPlan, packet: Packet, ends: str) -> None:
    assert leave(rules_of(plan, Family.V4), packet) == ends


@pytest.mark.parametrize("plan", [PLAN, MANAGED, DOCKERS, LEASED], ids=["plain", "managed", "docker's", "leased"])
def test_every_rule_has_a_reason_and_a_name_of_its_own(plan: RedirectPlan) -> None:
    rules = all_rules(plan)
    assert len({(rule.family, rule.table, rule.name) for rule in rules}) == len(rules)
    for rule in rules:
        assert rule.reason.endswith("."), rule
        assert len(rule.reason) > 20, rule


def test_every_chain_of_ours_that_is_entered_has_rules() -> None:
    for family in Family:
        rules = rules_of(PLAN, family)
        targets = {(rule.table, rule.target) for rule in rules if rule.target.startswith("MESHYARD_")}
        assert targets == {(rule.table, rule.chain) for rule in rules if not rule.is_entry}
