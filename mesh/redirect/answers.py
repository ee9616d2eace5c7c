"""The rules that say who may *answer* from a port: rules about who may dial are worth nothing if somebody else listens.

A port above 1023 belongs to whoever binds it first. While the sidecar is dead, any process of the host could listen
on 15006 and be handed, in plain text, what table nat turns there; or on 15001, and be handed the application's
requests. The same holds for the agent's DNS port and for the application's own. A listener cannot be forbidden by
iptables, but every packet that it sends passes OUTPUT, and there its owner is known.

`--socket-exists` is half of the match: without it, a packet that has no socket any more (the last bytes of a closed
connection, a SYN cookie) would count as somebody else's.
"""

from __future__ import annotations

from mesh.redirect.model import Family, RedirectPlan, Rule

ANSWERS = "MESHYARD_ANSWERS"


def answer_rules(plan: RedirectPlan, chain: str, *, tcp_refusal: str, refusal: str) -> tuple[Rule, ...]:
    """Return the jump from `chain` and the rules behind it; they come before the rule that lets answers pass."""
    enter = Rule(
        Family.V4, "filter", chain, "", ANSWERS, "enter-answers",
        "Answers of allowed connections pass next; first it is asked whose process gives them.", "T19",
    )  # fmt: skip
    sidecar = (
        _only(
            port, "tcp", plan.sidecar_uid, "sidecar", tcp_refusal, "what table nat turns there is meant for nobody else"
        )
        for port in plan.own_ports
    )
    agent = (
        _only(
            plan.dns_port,
            protocol,
            plan.agent_uid,
            "agent",
            how,
            "a false name would choose whom the application calls",
        )
        for protocol, how in (("tcp", tcp_refusal), ("udp", refusal))
    )
    application = (
        _only(port, "tcp", plan.application_uid, "application", tcp_refusal, "what was meant for it is nobody else's")
        for port in plan.application_ports
    )
    return (enter, *sidecar, *agent, *application)


def _only(port: int, protocol: str, uid: int, who: str, how: str, why: str) -> Rule:
    match = f"-p {protocol} -m {protocol} --sport {port} -m owner ! --uid-owner {uid} --socket-exists"
    reason = (
        f"Only the {who} answers from port {port}. A process of another user that took the port while the {who} was "
        f"down is cut off: {why}."
    )
    return Rule(Family.V4, "filter", ANSWERS, match, how, f"only-{who}-answers-{protocol}-{port}", reason, "T19")
