"""The rules that say who may *accept* on a port: rules about who may dial are worth nothing if somebody else listens.

A port above 1023 belongs to whoever binds it first. While the sidecar is dead, any process of the host could listen
on 15006 and be handed, in plain text, what table nat turns there; or on 15001, and be handed the application's
requests. The same holds for the agent's DNS port and for the application's own. A listener cannot be forbidden by
iptables, but no TCP connection comes about without the SYN-ACK that its kernel sends in the listener's name, and that
packet passes OUTPUT, where its owner is known.

Only the SYN-ACK is looked at: resets, and acknowledgements after a close, are the kernel's own and have no owner. A SYN
cookie has none either: on the inbound port, which outsiders can flood, it passes (`--socket-exists`); on the ports that
only this host dials it does not.
"""

from __future__ import annotations

from mesh.redirect.model import Family, RedirectPlan, Rule

ANSWERS = "MESHYARD_ANSWERS"
SYN_ACK = "--tcp-flags SYN,ACK SYN,ACK"


def answer_rules(plan: RedirectPlan, chain: str, *, tcp_refusal: str, refusal: str) -> tuple[Rule, ...]:
    """Return the jump from `chain` and the rules behind it; they come before the rule that lets answers pass."""
    handed = "what table nat turns there is meant for nobody else"
    named = "a false name would choose whom the application calls"
    return (
        Rule(
            Family.V4, "filter", chain, "", ANSWERS, "enter-answers",
            "Answers of allowed connections pass next; first it is asked whose process gives them.", "T19",
        ),
        _accepts(plan.inbound_port, plan.sidecar_uid, "sidecar", tcp_refusal, handed, is_flooded=True),
        _accepts(plan.outbound_port, plan.sidecar_uid, "sidecar", tcp_refusal, handed),
        _accepts(plan.admin_port, plan.sidecar_uid, "sidecar", tcp_refusal, "the agent would believe what it says"),
        _accepts(plan.dns_port, plan.agent_uid, "agent", tcp_refusal, named),
        _rule(
            f"-p udp -m udp --sport {plan.dns_port} -m owner ! --uid-owner {plan.agent_uid}", refusal,
            f"only-agent-answers-{plan.dns_port}",
            f"Only the agent answers names from UDP port {plan.dns_port}: {named}.",
        ),
        *(
            _accepts(port, plan.application_uid, "application", tcp_refusal, "what was meant for it is nobody else's")
            for port in plan.application_ports
        ),
        *(
            _rule(
                f"-p tcp -m tcp --sport {port} {SYN_ACK} -m owner --uid-owner {plan.application_uid}", tcp_refusal,
                f"application-never-accepts-{port}",
                f"Port {port} is reached without the sidecar. The application that took it while its owner was down "
                "would be reached in plain text, with nobody having asked who calls.",
            )
            for port in plan.excluded_inbound_ports
        ),
    )  # fmt: skip


def _accepts(port: int, uid: int, who: str, refusal: str, why: str, *, is_flooded: bool = False) -> Rule:
    owner = f"-m owner ! --uid-owner {uid}" + (" --socket-exists" if is_flooded else "")
    reason = (
        f"Only the {who} accepts connections on port {port}. A process of another user that took the port while the "
        f"{who} was down is handed nothing: {why}."
    )
    return _rule(f"-p tcp -m tcp --sport {port} {SYN_ACK} {owner}", refusal, f"only-{who}-accepts-{port}", reason)


def _rule(match: str, target: str, name: str, reason: str) -> Rule:
    return Rule(Family.V4, "filter", ANSWERS, match, target, name, reason, "T19")
