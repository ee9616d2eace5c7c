"""Asks every request of the corpus of one data plane, in a network namespace of its own; prints the verdicts as JSON.

    unshare --map-root-user --net python -m tests.conformance.planes.corpus_runner envoy PROGRAM sotw

The shape of what is printed: number of the policy -> by caller -> by request -> [status, rule].
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.conformance.planes import world
from tests.conformance.planes.corpus import CALLERS, POLICIES, REFUSED_UNREAD, Asked, Policy, policies, rule_of
from tests.conformance.planes.peers import Answer, ask, connect
from tests.conformance.planes.plane import OWN, called_at, prepare_network, running, until_listening, view_with
from tests.conformance.planes.runner import upstreams

AT_ONCE = 8
Verdicts = list[tuple[int, str]]


def service_of(number: int) -> str:
    """Return the name of the service that a policy guards."""
    return f"guarded-{number}"


def corpus() -> dict[int, Policy]:
    """Return every policy by its number."""
    return dict(policies({number: service_of(number) for number in range(1, POLICIES + 1)}))


async def verdicts_of(context: ssl.SSLContext, number: int, asked: tuple[Asked, ...]) -> Verdicts:
    """Ask as one caller, on one connection for as long as it stays."""
    line, found = None, []
    for one in asked:
        line = line or await connect(*called_at(number), context)
        answer = await ask(line, one.raw(service_of(number)))
        found.append(_verdict(answer))
        if answer.end != "open":
            line.writer.transport.abort()
            line = None
    if line:
        line.writer.transport.abort()
    return found


def _verdict(answer: Answer) -> tuple[int, str]:
    if answer.status == 200:
        return 200, ""
    told = answer.headers.get("x-mesh-decision", [""])[0]
    return answer.status, rule_of(told) if told else REFUSED_UNREAD


async def main(plane: str, program: str, mode: str) -> dict[int, list[Verdicts]]:
    """Run the whole corpus."""
    wanted = corpus()
    called = [
        replace(OWN, name=service_of(number), port=called_at(number)[1], intentions=policy.intentions)
        for number, policy in wanted.items()
    ]
    with tempfile.TemporaryDirectory(prefix="planes-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        said = folder / "said.log"
        authority = world.Authority()
        control_plane = world.ControlPlane(authority, folder, view_with((), called, str(folder / "access.log")))
        callers = [authority.client_context(service, folder, namespace=where) for service, where in CALLERS]
        turn = asyncio.Semaphore(AT_ONCE)

        async def of_policy(number: int, policy: Policy) -> list[Verdicts]:
            async with turn:
                pairs = zip(callers, policy.asked, strict=True)
                return [await verdicts_of(context, number, asked) for context, asked in pairs]

        async with control_plane.serving(), upstreams(authority, folder):
            with running(plane, program, control_plane.bootstrap(is_delta=mode == "delta"), said):
                await until_listening(control_plane, said)
                found = await asyncio.gather(*(of_policy(number, policy) for number, policy in wanted.items()))
    return dict(zip(wanted, found, strict=True))


if __name__ == "__main__":
    prepare_network()
    print(json.dumps(asyncio.run(main(*sys.argv[1:4]))))
