"""`mesh probe`: the start barrier. A call that only comes back when interception and both listeners work.

It dials an address that exists nowhere. iptables turns the connection to the outbound listener, that one dials this
host's own inbound listener with mutual TLS, and that one answers. So an answer proves the whole path, and the
application may start. Run it as the application's user: another's connections take another way.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable

import click

from mesh.base.durations import parse_duration
from mesh.base.errors import ConfigError
from mesh.base.patience import pause_s
from mesh.base.ports import AGENT_HTTP, PROBE, PROBE_VIP
from mesh.cli.exits import TIMED_OUT
from mesh.cli.output import say

ATTEMPT_TIMEOUT_S = 3.0
ANSWER = b"meshyard probe "
MAX_ANSWER_BYTES = 1024


@click.command()
@click.option("--address", default=PROBE_VIP, show_default=True, help="The probe's virtual address.")
@click.option("--port", default=PROBE, show_default=True, type=click.IntRange(1, 65535))
@click.option("--timeout", default="30s", show_default=True, help="How long to try.")
@click.option("--agent-port", default=AGENT_HTTP, show_default=True, help="Where to tell the agent; 0 tells nobody.")
def probe(address: str, port: int, timeout: str, agent_port: int) -> None:
    """Try until a call came back through both listeners of this host's sidecar; then release the application."""
    try:
        deadline = time.monotonic() + parse_duration(timeout)
    except ConfigError as error:
        raise click.BadParameter(f"{error.reason}, right would be {error.right}", param_hint="--timeout") from error
    answer = _until(lambda: ask(address, port), deadline, f"no answer from {address}:{port}")
    if agent_port:
        _until(lambda: tell(agent_port), deadline, f"the agent on port {agent_port} does not release the application")
    click.echo(answer)
    say("the probe came back: interception and both listeners work")


def ask(address: str, port: int) -> str:
    """Send one probe; return who answered.

    Raises:
        OSError: no connection, or no answer in time.
        ProbeError: something else answered.
    """
    status, body = _request("GET", address, port, "/")
    if status != http.client.OK or not body.startswith(ANSWER):
        raise ProbeError(f"status {status}, not the probe's answer")
    return body.decode("ascii", "replace").strip()


def tell(agent_port: int) -> str:
    """Tell the agent that the probe came back.

    Raises:
        OSError, ProbeError: it did not take it, yet.
    """
    status, _ = _request("PUT", "127.0.0.1", agent_port, "/v1/agent/released")
    if status != http.client.OK:
        raise ProbeError(f"status {status}")
    return "released"


class ProbeError(OSError):
    """Somebody answered, but not what the probe waits for."""


def _request(method: str, address: str, port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, port, timeout=ATTEMPT_TIMEOUT_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read(MAX_ANSWER_BYTES)
    except http.client.HTTPException as error:
        raise ProbeError(f"not HTTP: {type(error).__name__}") from error
    finally:
        connection.close()


def _until(attempt: Callable[[], str], deadline: float, what: str) -> str:
    """Try again and again: a dial into a half-made host fails fast."""
    waiting, began = threading.Event(), time.monotonic()
    while True:
        try:
            return attempt()
        except OSError as error:
            if time.monotonic() >= deadline:
                say(f"{what}: {error}")
                raise click.exceptions.Exit(TIMED_OUT) from None
        waiting.wait(pause_s(time.monotonic() - began))
