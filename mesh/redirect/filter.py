"""The rules that refuse: table filter, IPv4 and IPv6. They hold even when somebody flushes table nat.

Redirection alone is a convenience; this table is what makes it the only way. Both chains end in a refusal, so
what nobody thought of is closed. Allowed packets RETURN instead of being accepted: a stricter firewall of the
host's owner still has its say.

One fact of the kernel shapes the rules: a packet that table nat turned round in OUTPUT keeps the interface it was
first routed to for the rest of that hook, so `-o lo` does not match it here. Its new destination and the
connection's state DNAT do.
"""

from __future__ import annotations

from mesh.redirect.answers import answer_rules
from mesh.redirect.model import UID_ROOT, Family, RedirectPlan, Rule
from mesh.redirect.outside import asked_resolvers, guarded_resolvers, operator_flows

EGRESS = "MESHYARD_EGRESS"
INGRESS = "MESHYARD_INGRESS"
LOOPBACK = "MESHYARD_LOOPBACK"

RESET = "REJECT --reject-with tcp-reset"
PROHIBITED = {
    Family.V4: "REJECT --reject-with icmp-admin-prohibited",
    Family.V6: "REJECT --reject-with icmp6-adm-prohibited",
}
KNOWN = "-m conntrack --ctstate RELATED,ESTABLISHED"
TURNED = "-m conntrack --ctstate DNAT"
NOT_TURNED = "-m conntrack ! --ctstate DNAT"


def filter_rules(plan: RedirectPlan) -> tuple[Rule, ...]:
    """Return the IPv4 rules of table filter in order."""
    return (*_entries(Family.V4), *_egress(plan), *_loopback(plan), *_ingress(plan))


def filter6_rules(plan: RedirectPlan) -> tuple[Rule, ...]:
    """Return the IPv6 rules: nothing leaves, nothing comes in, loopback is guarded as in IPv4."""
    return (*_entries(Family.V6), *_egress6(), *_application_port(plan, Family.V6), *_ingress6())


def _entries(family: Family) -> tuple[Rule, ...]:
    return (
        _rule(family, "INPUT", "", INGRESS, "enter-ingress", "Whatever arrives is asked here first.", "T16"),
        _rule(family, "OUTPUT", "", EGRESS, "enter-egress", "Whatever leaves is asked here first.", "T16"),
    )


def _common_egress(family: Family) -> tuple[Rule, ...]:
    return (
        _rule(
            family, EGRESS, KNOWN, "RETURN", "known-out",
            "Packets of a connection that was allowed when it began, answers, and the errors that belong to it.",
        ),
        _rule(family, EGRESS, "-o lo", LOOPBACK, "enter-loopback", "Loopback has rules of its own."),
        _rule(
            family, EGRESS, "-o lo", "RETURN", "loopback",
            "What those rules did not refuse stays on this host and may pass.", "T3",
        ),
    )  # fmt: skip


def _egress(plan: RedirectPlan) -> tuple[Rule, ...]:
    family = Family.V4
    turned = tuple(
        _rule(
            family, EGRESS, f"-d 127.0.0.1/32 -p {protocol} -m {protocol} --dport {plan.dns_port} {TURNED}", "RETURN",
            f"dns-{protocol}-turned", "A name query that table nat sent to the agent; whoever asked.", "T8",
        )
        for protocol in ("udp", "tcp")
    )  # fmt: skip
    control_plane = tuple(
        _rule(
            family, EGRESS,
            f"-d {plan.control_plane_address}/32 -p tcp -m tcp --dport {port} -m owner --uid-owner {plan.agent_uid}",
            "RETURN", f"agent-to-control-plane-{port}",
            f"The agent dials the control plane's port {port} itself: it is what gives the sidecar its identity, so it "
            "cannot wait for the sidecar. It may dial nothing else.", "T15",
        )
        for port in plan.control_plane_ports
    )  # fmt: skip
    return (
        *answer_rules(plan, EGRESS, tcp_refusal=RESET, refusal=PROHIBITED[family]),
        *_common_egress(family),
        _rule(
            family, EGRESS,
            f"-d 127.0.0.1/32 -p tcp -m tcp --dport {plan.outbound_port} -m owner --uid-owner {plan.application_uid} "
            f"{TURNED}", "RETURN", "application-turned",
            "A connection of the application that table nat sent to the sidecar.",
        ),
        *turned,
        *control_plane,
        *asked_resolvers(plan, EGRESS),
        _rule(
            family, EGRESS, f"-p tcp -m owner --uid-owner {plan.sidecar_uid}", "RETURN", "sidecar-out",
            "The sidecar opens TCP connections to other sidecars. Its UDP is refused like everybody's.", "T4",
        ),
        *operator_flows(plan, EGRESS),
        _rule(
            family, EGRESS, "-p tcp", RESET, "refuse-tcp",
            "TCP of anybody else is refused: another user's process must not get the service's identity by going "
            "through its sidecar, nor pass beside it. The rule catches the application too when table nat was emptied.",
        ),
        _rule(
            family, EGRESS, "", PROHIBITED[family], "refuse-rest",
            "UDP, QUIC with it, ICMP and raw protocols are not carried by the mesh, so they may not leave at all; the "
            "sender is told, and HTTP/3 falls back to TCP.", "T13",
        ),
    )  # fmt: skip


def _loopback(plan: RedirectPlan) -> tuple[Rule, ...]:
    listeners = tuple(
        _rule(
            Family.V4, LOOPBACK, f"-p tcp -m tcp --dport {port} {NOT_TURNED}", RESET, f"no-{name}-by-hand",
            f"Port {port} is entered by redirection only. Dialled by hand it has no original destination, and would "
            "let another user's process speak as the service.",
        )
        for name, port in (("outbound", plan.outbound_port), ("inbound", plan.inbound_port))
    )  # fmt: skip
    admin = f"-p tcp -m tcp --dport {plan.admin_port}"
    return (
        *listeners,
        *guarded_resolvers(plan, LOOPBACK, PROHIBITED[Family.V4]),
        *(
            _rule(
                Family.V4, LOOPBACK, f"{admin} -m owner --uid-owner {uid}", "RETURN", f"admin-{name}",
                f"The sidecar's admin port for the {name}.",
            )
            for name, uid in (("agent", plan.agent_uid), ("superuser", UID_ROOT))
        ),
        _rule(
            Family.V4, LOOPBACK, admin, RESET, "no-admin",
            "For everybody else the admin port is closed: what a sidecar knows is not the application's to read.",
        ),
        *_application_port(plan, Family.V4),
    )  # fmt: skip


def _application_port(plan: RedirectPlan, family: Family) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for port in plan.application_ports:
        to_port = f"-p tcp -m tcp --dport {port}"
        if family is Family.V4:
            rules.append(
                _rule(
                    family, LOOPBACK, f"-s {plan.delivery_source}/32 {to_port} -m owner --uid-owner {plan.sidecar_uid}",
                    "RETURN", f"deliver-{port}",
                    "The sidecar delivers what it has checked, from its own address.", "T1",
                )
            )  # fmt: skip
        for name, uid, why in (
            ("agent", plan.agent_uid, "The agent's health checks."),
            ("application", plan.application_uid, "The application's own processes, as before."),
            ("superuser", UID_ROOT, "Root could change these rules anyway; the lab's port forward runs as root."),
        ):
            rules.append(
                _rule(family, LOOPBACK, f"{to_port} -m owner --uid-owner {uid}", "RETURN", f"{name}-to-{port}", why)
            )
        rules.append(
            _rule(
                family, LOOPBACK, to_port, RESET, f"guard-{port}",
                f"Another user's process on this host does not reach port {port} around the sidecar and its policy.",
            )
        )  # fmt: skip
    return tuple(rules)


def _common_ingress(family: Family) -> tuple[Rule, ...]:
    return (
        _rule(family, INGRESS, "-i lo", "RETURN", "loopback-in", "Loopback was decided when the packet left."),
        _rule(
            family, INGRESS, KNOWN, "RETURN", "known-in",
            "Packets of a connection that was allowed when it began, answers, and the errors that belong to it.",
        ),
    )  # fmt: skip


def _ingress(plan: RedirectPlan) -> tuple[Rule, ...]:
    family = Family.V4
    reserved = tuple(
        _rule(
            family, INGRESS, f"-p tcp -m conntrack --ctorigdstport {port}", RESET, f"no-{port}-from-outside",
            f"Port {port} is the sidecar's own. Dialled from outside it is refused by the port that was dialled "
            "before redirection: the host is no relay, and nobody gets at the admin port.",
        )
        for port in plan.own_ports
    )  # fmt: skip
    excluded = tuple(
        _rule(
            family, INGRESS, f"-p tcp -m tcp --dport {port}", "RETURN", f"open-{port}",
            f"Port {port} is excluded by the plan and reached without the sidecar.", "T6",
        )
        for port in plan.excluded_inbound_ports
    )  # fmt: skip
    return (
        *_common_ingress(family),
        *reserved,
        *excluded,
        _rule(
            family, INGRESS, f"-p tcp -m tcp --dport {plan.inbound_port} {TURNED}", "RETURN", "inbound-turned",
            "What table nat turned to the inbound listener. The state must say so: with nat emptied nothing comes in.",
        ),
        _rule(
            family, INGRESS, "-p icmp -m icmp --icmp-type 8", "RETURN", "echo",
            "Ping is answered by the kernel and never reaches the application.",
        ),
        _rule(
            family, INGRESS, "-p tcp", RESET, "refuse-tcp-in",
            "Any other TCP would reach the application in plain text, with nobody having asked who calls.",
        ),
        _rule(
            family, INGRESS, "", PROHIBITED[family], "refuse-rest-in",
            "UDP and other protocols are not carried by the mesh; nothing here may be reached by them.", "T13",
        ),
    )  # fmt: skip


def _egress6() -> tuple[Rule, ...]:
    family = Family.V6
    return (
        *_common_egress(family),
        *_neighbours(EGRESS, "out"),
        _rule(
            family, EGRESS, "-p tcp", RESET, "refuse-tcp",
            "IPv6 is refused, not carried: no listener, no virtual address and no certificate check stands behind it, "
            "so that a dual-stack application cannot leave the mesh by choosing the other address.",
        ),
        _rule(
            family, EGRESS, "", PROHIBITED[family], "refuse-rest",
            "IPv6 is refused, not carried; this holds for UDP, ICMP and raw protocols of every user too.", "T13",
        ),
    )  # fmt: skip


def _ingress6() -> tuple[Rule, ...]:
    family = Family.V6
    return (
        *_common_ingress(family),
        *_neighbours(INGRESS, "in"),
        _rule(
            family, INGRESS, "-p tcp", RESET, "refuse-tcp-in",
            "IPv6 is refused, not carried: an application that listens on `::` is not reachable around the sidecar. "
            "The reset makes a caller fall back to IPv4 at once.",
        ),
        _rule(
            family, INGRESS, "", PROHIBITED[family], "refuse-rest-in", "IPv6 is refused, not carried.", "T13",
        ),
    )  # fmt: skip


def _neighbours(chain: str, way: str) -> tuple[Rule, ...]:
    return tuple(
        _rule(
            Family.V6, chain, f"-p ipv6-icmp -m icmp6 --icmpv6-type {number}", "RETURN", f"{what}-{way}",
            "Neighbours find each other, which is what lets a refusal be answered instead of timing out.",
        )
        for what, number in (("solicitation", 135), ("advertisement", 136))
    )  # fmt: skip


def _rule(family: Family, chain: str, match: str, target: str, name: str, reason: str, source: str = "") -> Rule:
    return Rule(family, "filter", chain, match, target, name, reason, source)
