"""The data path carries more than one request at a time: many, big, slow and idle ones, and loses none of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kit import Lab, intentions
from tests.e2e.pace import fewer, stretched

LAB_HOSTS = ("cp-1", "order-1")
URL = "http://bulk-service:8080"
HERE = Path(__file__).parent
SERVICE = """
service {
  name = "bulk-service"
  port = 8080
  check { http = "http://127.0.0.1:8080/health" interval = "1s" }
  connect { sidecar_service {} }
}
"""
# Holds many connections open; asks something on a hundred of them, then on all at once. argv: how many, in fifties.
IDLE = """
import asyncio, json, sys
REQUEST = b"GET /give/100 HTTP/1.1\\r\\nhost: bulk-service\\r\\n\\r\\n"
async def ask(reader, writer):
    writer.write(REQUEST)
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    return head[9:12].decode() + " " + (await reader.readexactly(100)).decode()[:1]
async def main():
    pairs = []
    for _ in range(int(sys.argv[1])):
        pairs += await asyncio.gather(*(asyncio.open_connection("bulk-service", 8080) for _ in range(50)))
    seen = [await ask(*pair) for pair in pairs[:100]]
    async with asyncio.timeout(100):
        seen += await asyncio.gather(*(ask(*pair) for pair in pairs))
    print(json.dumps({answer: seen.count(answer) for answer in set(seen)}))
asyncio.run(main())
"""
# Asks for much, reads nothing until it is told to, then reads all of it.
SLOW_READER = """
import socket, sys
size = int(sys.argv[1])
sock = socket.create_connection(("bulk-service", 8080), timeout=100)
sock.sendall(b"GET /give/%d HTTP/1.1\\r\\nhost: bulk-service\\r\\n\\r\\n" % size)
print(sock.recv(1, socket.MSG_PEEK), flush=True)
sys.stdin.readline()
seen, head = 0, b""
while b"\\r\\n\\r\\n" not in head:
    head += sock.recv(65536)
seen = len(head.split(b"\\r\\n\\r\\n", 1)[1])
while seen < size and (piece := sock.recv(1 << 20)):
    seen += len(piece)
print(seen, flush=True)
"""
# What is read slowly takes longer than a route usually has for an answer, on a small machine. The other limits are the
# usual ones, longer on slow hosts.
ROUTER = """
Kind = "service-router"
Name = "bulk-service"
Routes = [
  {{
    Match {{ HTTP {{ PathPrefix = "/give" }} }}
    Destination {{ RequestTimeout = "{unhurried_s:g}s" }}
  }},
  {{
    Match {{ HTTP {{ PathPrefix = "/" }} }}
    Destination {{ RequestTimeout = "{usual_s:g}s" }}
  }},
]
"""
PATIENCE = """
Kind = "service-defaults"
Name = "order-service"
UpstreamConfig {{
  Defaults {{
    ConnectTimeoutMs = {connect_ms:.0f}
  }}
}}
"""
MEMORY = "grep -h VmRSS $(grep -lE '^Uid:.1337' /proc/[0-9]*/status)"


@pytest.fixture(scope="module")
def bulk(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The lab with a host that moves bodies."""
    folder = tmp_path_factory.mktemp("bulk") / "bulk-service"
    folder.mkdir()
    (folder / "app.py").write_text((HERE / "bulk_app.py").read_text())
    (folder / "service.hcl").write_text(SERVICE)
    (folder / "intentions.hcl").write_text(intentions("bulk-service", ("order-service", "allow"), ("*", "deny")))
    router = ROUTER.format(unhurried_s=stretched(120), usual_s=stretched(15))
    assert lab.write_config(router, folder, "router.hcl").exit_code == 0
    patience = PATIENCE.format(connect_ms=stretched(5000))
    assert lab.write_config(patience, folder, "patience.hcl").exit_code == 0
    lab.add("bulk-1", folder)
    return lab


def load(lab: Lab, kind: str, *, size: int, calls: int, at_once: int) -> dict[str, int]:
    """Make many calls on order-1; return what went wrong, and how often."""
    ask = {"url": URL, "kind": kind, "size": size, "calls": calls, "at_once": at_once, "within_s": stretched(30)}
    done = lab.run(
        "order-1", "python", "-c", (HERE / "load.py").read_text(), stdin=json.dumps(ask), timeout_s=stretched(180)
    )
    assert done.exit_code == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    faults: dict[str, int] = answer["faults"]
    return faults


def memory_kib(lab: Lab, host: str) -> int:
    """Return how much memory the sidecar of a host holds."""
    return int(lab.run(host, "sh", "-c", MEMORY, user="root").stdout.split()[1])


def test_01_three_hundred_calls_at_once_on_a_cold_mesh(bulk: Lab) -> None:
    at_once = fewer(300)
    assert load(bulk, "digest", size=800, calls=fewer(900), at_once=at_once) == {}
    if bulk.has_envoy("order-1") or bulk.has_envoy("bulk-1"):
        return  # docs/reference/sidecar-parity.md: Envoy opens a connection for each
    if at_once < 300:
        return  # on emulated hosts all handshakes have begun before the first answer is there
    page = bulk.admin("bulk-1", "stats/prometheus").body
    (line,) = [line for line in page.splitlines() if line.startswith('mesh_downstream_connections_active{listener="in')]
    assert int(line.split()[-1]) <= max(1, at_once * 2 // 3), (
        "most of them got a connection that came back, instead of a handshake"
    )


@pytest.mark.parametrize(
    ("size", "calls", "at_once"),
    [pytest.param(64 * 1024, 80, 40, id="64 KiB"), pytest.param(1024 * 1024, 16, 8, id="1 MiB")],
)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("digest", id="up, with a length"),
        pytest.param("chunked", id="up, in chunks"),
        pytest.param("give", id="down, with a length"),
        pytest.param("stream", id="down, in chunks"),
        pytest.param("echo", id="both ways at the same time"),
    ],
)
def test_02_bodies_arrive_byte_by_byte_as_they_were_sent(
    bulk: Lab, kind: str, size: int, calls: int, at_once: int
) -> None:
    assert load(bulk, kind, size=size, calls=calls, at_once=at_once) == {}


def test_03_a_thousand_open_connections_are_held_and_each_is_answered(bulk: Lab) -> None:
    fifties = max(2, fewer(20))
    done = bulk.python("order-1", IDLE, str(fifties), timeout_s=150.0)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == {"200 g": fifties * 50 + 100}


def test_04_who_reads_slowly_slows_the_sender_and_fills_no_memory(bulk: Lab) -> None:
    size = 100_000_000
    before = {host: memory_kib(bulk, host) for host in ("order-1", "bulk-1")}
    with bulk.background("order-1", "python", "-c", SLOW_READER, str(size)) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        assert load(bulk, "give", size=1000, calls=fewer(200), at_once=fewer(20)) == {}, (
            "nobody else waits for the slow one"
        )
        for host, held in before.items():
            assert memory_kib(bulk, host) - held < 20_000, f"the sidecar of {host} keeps what nobody reads"
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == str(size)


def test_05_none_of_it_needed_a_second_try(bulk: Lab) -> None:
    for host in ("order-1", "bulk-1"):
        records = bulk.access_log(host)
        assert len(records) > fewer(2000)
        odd = [one for one in records if one["response_code"] != 200 or one.get("attempt_count", 1) > 1]
        assert odd == []
