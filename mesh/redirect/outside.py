"""The few flows that leave a host beside the mesh, as its plan says: names asked elsewhere, the operator's own.

Both are allowed by user, because that is what the application cannot choose. A process of the application's user gets
nothing from these rules: its TCP is turned to the sidecar before they are asked, the rest is refused after them.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from mesh.base import ports
from mesh.redirect.model import SYSTEM_UIDS, Family, RedirectPlan, Rule

PROTOCOLS = ("udp", "tcp")


def unturned_questions(plan: RedirectPlan, chain: str) -> tuple[Rule, ...]:
    """Return the rules of table nat that come before names are turned to the agent: its own questions are not."""
    return tuple(
        Rule(
            Family.V4, "nat", chain,
            f"-d {plan.resolver_address}/32 -p {protocol} -m {protocol} --dport 53 -m owner --uid-owner "
            f"{plan.agent_uid}", "RETURN", f"forward-{protocol}",
            f"What is not of the mesh the agent asks {plan.resolver_address} itself; turned round it would ask itself "
            "for ever. Rules of the host's owner that come next still turn it, as Docker's do.", "T22",
        )
        for protocol in PROTOCOLS
        if plan.resolver_address in plan.forward_to
    )  # fmt: skip


def asked_resolvers(plan: RedirectPlan, chain: str) -> tuple[Rule, ...]:
    """Return the rules of table filter that let the agent ask resolvers on other hosts."""
    return tuple(
        _rule(
            chain, f"-d {address}/32 -p {protocol} -m {protocol} --dport 53 -m owner --uid-owner {plan.agent_uid}",
            "RETURN", f"agent-asks-{address}-{protocol}",
            f"The agent asks {address} for names that are not of the mesh. Nobody else may: the application asks the "
            "agent.", "T22",
        )
        for address in plan.forward_to
        if not _is_loopback(address)
        for protocol in PROTOCOLS
    )  # fmt: skip


def guarded_resolvers(plan: RedirectPlan, chain: str, refusal: str) -> tuple[Rule, ...]:
    """Return the rules of table filter that keep others away from a resolver on loopback, whatever port it uses."""
    return tuple(
        _rule(
            chain, f"-d {address}/32 -m owner ! --uid-owner {plan.agent_uid}", refusal, f"only-agent-asks-{address}",
            f"Only the agent speaks to the resolver at {address}. Docker's listens on a port of its own there, which "
            "anybody could dial by hand.", "T22",
        )
        for address in plan.forward_to
        if _is_loopback(address)
    )  # fmt: skip


def operator_flows(plan: RedirectPlan, chain: str) -> tuple[Rule, ...]:
    """Return the rules of table filter that let the host's own system out: packages, the clock, its address lease."""
    owner = "-m owner --uid-owner {}-{}".format(*SYSTEM_UIDS)
    who = "Root and the system's services (users 0 to 999)"
    networks = (
        _rule(
            chain, f"-d {network} {owner}", "RETURN", f"operator-to-{network}",
            f"{who} may dial {network}, as the plan says. The application's user is none of them.", "T21",
        )
        for network in plan.operator_networks
    )  # fmt: skip
    interfaces = (
        _rule(
            chain, f"! -d {ports.VIRTUAL_RANGE} -o {name} {owner}", "RETURN", f"operator-by-{name}",
            f"{who} may leave by {name}, as the plan says: a DHCP lease is renewed, the clock set, a package fetched. "
            "Nothing more comes in by it than by any other interface.", "T21",
        )
        for name in plan.management_interfaces
    )  # fmt: skip
    return (*networks, *interfaces)


def _is_loopback(address: str) -> bool:
    return IPv4Address(address).is_loopback


def _rule(chain: str, match: str, target: str, name: str, reason: str, source: str) -> Rule:
    return Rule(Family.V4, "filter", chain, match, target, name, reason, source)
