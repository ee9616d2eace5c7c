"""The rules that turn connections round: tables nat and mangle, IPv4 only, because IPv6 is refused and not carried.

The order inside MESHYARD_OUTPUT is the art: T1 to T5 are Istio's rules #1 to #5 in Istio's order
(istio/istio tools/istio-iptables), and each one is wrong in any other place.
"""

from __future__ import annotations

from mesh.redirect.model import Family, RedirectPlan, Rule
from mesh.redirect.outside import unturned_questions

INBOUND = "MESHYARD_INBOUND"
OUTPUT = "MESHYARD_OUTPUT"
IN_REDIRECT = "MESHYARD_IN_REDIRECT"
OUT_REDIRECT = "MESHYARD_OUT_REDIRECT"
INVALID = "MESHYARD_INVALID"


def nat_rules(plan: RedirectPlan) -> tuple[Rule, ...]:
    """Return the rules of table nat in the order in which the kernel must read them."""
    return (*_entries(), *_inbound(plan), *_dns(plan), *_outbound(plan), *_redirects(plan))


def mangle_rules() -> tuple[Rule, ...]:
    """Return the rules of table mangle: what the connection tracker cannot place is dropped before nat is asked."""
    return (
        _rule("mangle", "PREROUTING", "", INVALID, "enter-invalid", "Look at each arriving packet's state first."),
        _rule(
            "mangle", INVALID, "-m conntrack --ctstate INVALID", "DROP", "drop-invalid",
            "A packet outside every known connection is dropped: it would miss the address translation, and the host's "
            "own kernel would answer it with a reset that kills a healthy connection.", "T9",
        ),
    )  # fmt: skip


def _entries() -> tuple[Rule, ...]:
    first = "It is put first: a rule of somebody else that accepts earlier would let connections pass uncaught."
    return (
        _nat("PREROUTING", "-p tcp", INBOUND, "enter-inbound", f"Every TCP connection from outside. {first}", "T16"),
        _nat("OUTPUT", "", OUTPUT, "enter-output", f"Every connection that this host opens. {first}", "T16"),
    )


def _inbound(plan: RedirectPlan) -> tuple[Rule, ...]:
    excluded = (
        _nat(
            INBOUND, f"-p tcp -m tcp --dport {port}", "RETURN", f"exclude-inbound-{port}",
            f"Port {port} is excluded by the plan: it is reached without the sidecar. For the agent's health and "
            "metrics that is the point, they must answer while the sidecar is down.", "T6",
        )
        for port in plan.excluded_inbound_ports
    )  # fmt: skip
    rest = _nat(
        INBOUND, "-p tcp", IN_REDIRECT, "capture-inbound",
        "All other TCP goes to the sidecar, whatever the port: a service that is not registered is not exposed, and "
        "one that listens on 127.0.0.1 only is still delivered to.", "T14",
    )  # fmt: skip
    return (*excluded, rest)


def _dns(plan: RedirectPlan) -> tuple[Rule, ...]:
    """Before T1 to T5: the resolver is usually on loopback, and the rule for 127.0.0.1 would let it pass."""
    turned = tuple(
        _nat(
            OUTPUT, f"-d {plan.resolver_address}/32 -p {protocol} -m {protocol} --dport 53",
            f"REDIRECT --to-ports {plan.dns_port}", f"dns-{protocol}",
            f"Names asked of {plan.resolver_address} over {protocol.upper()} are answered by the agent. It comes "
            "before the loopback rules, which would let it pass. The agent's own questions come from ports that the "
            "kernel gives to nobody, so that no two flows meet in the connection tracker and no zone is needed.", "T8",
        )
        for protocol in ("udp", "tcp")
    )  # fmt: skip
    return (*unturned_questions(plan, OUTPUT), *turned)


def _outbound(plan: RedirectPlan) -> tuple[Rule, ...]:
    sidecar = f"-m owner --uid-owner {plan.sidecar_uid}"
    return (
        _nat(
            OUTPUT, f"-s {plan.delivery_source}/32 -o lo", "RETURN", "delivery",
            f"The sidecar delivers to the application from {plan.delivery_source}; caught again, a request would never "
            "arrive.", "T1",
        ),
        _nat(
            OUTPUT, f"! -d 127.0.0.1/32 -o lo -p tcp {sidecar}", IN_REDIRECT, "self-call",
            "The application calls its own service: the sidecar dials this host's own address, which the kernel routes "
            "over lo. It goes to the inbound listener, so that policy holds for a self-call as for any other.", "T2",
        ),
        _nat(
            OUTPUT, f"-o lo -m owner ! --uid-owner {plan.sidecar_uid}", "RETURN", "local-talk",
            "Processes of this host talk to each other over lo as they did before; who may reach the application that "
            "way is decided in table filter.", "T3",
        ),
        _nat(
            OUTPUT, sidecar, "RETURN", "sidecar-own",
            "The sidecar's own connections are the captured ones on their way out: caught again they would circle "
            "forever. A process with the sidecar's user is therefore outside the mesh's control.", "T4",
        ),
        _nat(
            OUTPUT, "-d 127.0.0.1/32", "RETURN", "localhost", "What is meant for localhost stays on localhost.", "T5",
        ),
        _nat(
            OUTPUT, f"-p tcp -m owner --uid-owner {plan.application_uid}", OUT_REDIRECT, "capture-outbound",
            "Every other TCP connection of the application goes to the sidecar, whatever its address and port: "
            "services by virtual address are carried, anything else is closed there. No outbound port or address is "
            "excluded.", "T6",
        ),
    )  # fmt: skip


def _redirects(plan: RedirectPlan) -> tuple[Rule, ...]:
    return (
        _nat(
            IN_REDIRECT, "-p tcp", f"REDIRECT --to-ports {plan.inbound_port}", "to-inbound",
            "The inbound listener; it reads the port that was dialled with SO_ORIGINAL_DST.", "T7",
        ),
        _nat(
            OUT_REDIRECT, "-p tcp", f"REDIRECT --to-ports {plan.outbound_port}", "to-outbound",
            "The outbound listener; it reads the address that was dialled with SO_ORIGINAL_DST.", "T7",
        ),
    )  # fmt: skip


def _nat(chain: str, match: str, target: str, name: str, reason: str, source: str = "") -> Rule:
    return _rule("nat", chain, match, target, name, reason, source)


def _rule(table: str, chain: str, match: str, target: str, name: str, reason: str, source: str = "") -> Rule:
    return Rule(Family.V4, table, chain, match, target, name, reason, source)
