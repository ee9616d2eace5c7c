"""Who calls still, and who may: the proof of the handshake as long as it holds, then RBAC from intentions.

Nothing of a denied request goes any further.
"""

from __future__ import annotations

from mesh.proxy.filters.exchange import Handler, Request, Response
from mesh.proxy.policy.flags import DECISION_HEADER, denied
from mesh.proxy.tables.model import Verdict


async def proof(request: Request, call_next: Handler) -> Response:
    """Answer 403 when the peer's proof no longer holds: a connection may live longer than its certificate."""
    if not request.unproven:
        return await call_next(request)
    request.rule = f"identity: {request.unproven}"
    add = [(DECISION_HEADER, request.rule)]
    return Response(403, body=request.unproven.encode(), add=add, details="peer_no_longer_proven")


async def authorization(request: Request, call_next: Handler) -> Response:
    """Let the request pass, or answer 403 with the name of the rule that said so."""
    authorizer = request.chain.authorizer
    if authorizer is None:
        return await call_next(request)
    decision = authorizer.decide(request.view)
    request.rule = decision.rule
    if decision.verdict is Verdict.ALLOW:
        return await call_next(request)
    status, body, details = denied(decision.rule, matched=not decision.rule.startswith("default deny"))
    return Response(status, body=body, add=[(DECISION_HEADER, decision.rule)], details=details)
