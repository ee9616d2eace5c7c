"""Last: find the route and do what it says; try, decide, try again.

Reads as it happens. The limits of one request are its `Plan` (route and caller), the decision after each try is
`RetryState.after`, whom to try is the cluster's runtime; this file only strings them together.
"""

from __future__ import annotations

from functools import partial

from mesh.proxy.filters.exchange import Answer, Attempt, Ending, Failed, Request, Response, Send, Sleep, local_response
from mesh.proxy.http.emit import emit_request
from mesh.proxy.policy.flags import DECISION_HEADER, Failure, Flag, local_reply
from mesh.proxy.policy.request_plan import Plan, plan_for
from mesh.proxy.policy.retry import GiveUp, Outcome, Responded, Retry, RetryState
from mesh.proxy.policy.runtime import ClusterRuntime
from mesh.proxy.tables.model import ClusterAction, DirectResponse, Endpoint, Route

# What the mesh itself tells a caller through the sidecar beside it; nobody else may write these names.
KEPT_FROM_PEERS = frozenset({DECISION_HEADER})


async def router(request: Request) -> Response:
    """Find the route, then answer from here or from its cluster."""
    route = request.chain.routes.find(request.view)
    if route is None:
        return local_response(local_reply(Failure.NO_ROUTE), request.chain)
    request.route = route.name
    action = route.action
    if isinstance(action, DirectResponse):
        return Response(action.status, body=action.body, details="direct_response")
    request.cluster = action.cluster
    runtime = request.around.runtimes.get(action.cluster)
    if runtime is None:
        return local_response(local_reply(Failure.NO_CLUSTER), request.chain)
    if not runtime.breaker.requests.acquire():
        return local_response(local_reply(Failure.OVERFLOW), request.chain)
    request.at_end.append(partial(_release, runtime))
    return await forward(request, route, action, runtime)


async def forward(request: Request, route: Route, action: ClusterAction, runtime: ClusterRuntime) -> Response:
    """Try endpoints of the cluster until one answers or the limits are reached."""
    plan = plan_for(action, request.view.method, request.view.headers, is_from_local_app=not request.chain.is_inbound)
    retry = request.retry = runtime.begin(plan, now=request.now)
    request.at_end.append(partial(_close, retry))
    waited_s = 0.0
    while True:
        endpoint = runtime.pick_for(retry)
        if endpoint is None:
            return give_up(request, plan, Failed(Failure.NO_HEALTHY_UPSTREAM), ())
        outcome, looked_at = await try_once(request, route, runtime, retry, endpoint, waited_s)
        decision = after(request, retry, looked_at)
        if isinstance(decision, Retry):
            if isinstance(outcome, Answer):
                outcome.discard()
            await Sleep(decision.delay_s)
            waited_s = decision.delay_s
        elif isinstance(outcome, Answer) and decision.failure is None:
            return pass_on(request, route, outcome, decision.flags)
        else:
            return give_up(request, plan, outcome, decision.flags, decision.failure)


def _release(runtime: ClusterRuntime, _: Ending) -> None:
    runtime.breaker.requests.release()


def _close(retry: RetryState, _: Ending) -> None:
    retry.close()


async def try_once(
    request: Request, route: Route, runtime: ClusterRuntime, retry: RetryState, endpoint: Endpoint, waited_s: float
) -> tuple[Answer | Failed, Outcome]:
    """Send the request to one endpoint and note what came of it; return that, and what retries look at of it."""
    deadline = retry.begin_try(endpoint.key, now=request.now)
    request.endpoint = endpoint
    runtime.started(endpoint.key)
    try:
        outcome = await Send(runtime.cluster, endpoint, upstream_head(request, route, retry.attempt), deadline, retry)
    except GeneratorExit:  # the caller went away: that says nothing about the endpoint
        runtime.ended(endpoint.key, None, now=request.now)
        raise
    looked_at: Outcome
    if isinstance(outcome, Answer):
        request.upstream_peer = outcome.peer
        said, looked_at = str(outcome.head.status), Responded(outcome.head.status, outcome.head.fields.by_name)
    else:
        said, looked_at = outcome.failure.value, outcome.failure
    verdict = runtime.ended(endpoint.key, looked_at, now=request.now)
    if verdict is not None:
        request.around.ejection(runtime.cluster.name, verdict)
    request.attempts.append(
        Attempt(retry.attempt, endpoint.host, f"{endpoint.address}:{endpoint.port}", said, waited_s)
    )
    return outcome, looked_at


def upstream_head(request: Request, route: Route, attempt: int) -> bytes:
    """Serialise the head for one try. The far side of the mesh learns which try it is."""
    suffix = request.suffix
    if not request.chain.is_inbound:
        suffix += b"x-envoy-attempt-count: %d\r\n" % attempt
    remove = request.remove
    if route.request_headers_to_remove:
        remove = remove | frozenset(route.request_headers_to_remove)
    return emit_request(request.head, suffix=suffix, remove=remove)


def after(request: Request, retry: RetryState, outcome: Outcome) -> Retry | GiveUp:
    """Decide what follows a try.

    A request whose body is no longer at hand cannot be tried again, whatever its policy says (retry buffer limit).
    """
    if not request.is_replayable():
        failure = None if isinstance(outcome, Responded) else outcome
        return GiveUp(() if failure is None else (local_reply(failure).flag,), failure, "not retried: body not kept")
    return retry.after(outcome, now=request.now, rng=request.around.rng)


def pass_on(request: Request, route: Route, answer: Answer, flags: tuple[Flag, ...]) -> Response:
    """Make the upstream's answer ours."""
    keep: frozenset[str] = frozenset()
    if not request.chain.is_inbound:
        keep = KEPT_FROM_PEERS
        request.rule = answer.head.first(DECISION_HEADER) or ""  # the far side's rule, for our own log
    remove = frozenset(route.response_headers_to_remove)
    return Response(answer.head.status, answer=answer, remove=remove, keep=keep, flags=flags)


def give_up(
    request: Request,
    plan: Plan,
    outcome: Answer | Failed,
    flags: tuple[Flag, ...],
    failure: Failure | None = None,
) -> Response:
    """Answer in the upstream's place."""
    reason = ""
    if isinstance(outcome, Answer):
        outcome.discard()
    else:
        failure, reason = failure or outcome.failure, outcome.reason
    assert failure is not None
    is_retry = len(request.attempts) > 1
    reply = local_reply(failure, transport_failure=reason, is_retry=is_retry)
    response = local_response(reply, request.chain, flags=flags)
    if failure in (Failure.TIMEOUT, Failure.PER_TRY_TIMEOUT):
        response.status = plan.timeout_status
    return response
