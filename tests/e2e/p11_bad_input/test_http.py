"""Promise 11, HTTP: what breaks the protocol is answered and its connection ends; nothing of it reaches anybody.

A service made for this writes down every byte its sidecar gives it. The messages are those of the conformance tables,
sent raw on two ways: by a member's application through its own sidecar, and by a thief of that member's certificate and
key straight to the other host, past the checks of the member's own sidecar.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.http import requests, responses
from tests.e2e.kit import FOREIGN_SPIFFE_CLIENT, Lab, eventually, intentions
from tests.e2e.p11_bad_input import envoys
from tests.e2e.pace import fewer, stretched

LAB_HOSTS = ("cp-1", "order-1", "makeline-1", "stranger-1")
HERE = Path(__file__).parent
CLIENT = (HERE / "raw_client.py").read_text()
SERVICE = """
service {
  name = "recording-service"
  port = 8080
  check { http = "http://127.0.0.1:8080/health" interval = "1s" }
  connect { sidecar_service {} }
}
"""
SEEN = "/var/lib/app/seen.jsonl"
# Wrong only so late that the head and some of the body are with the application by then; the rest never comes.
LARGE_BODIES = {"one of 20 kB", "20 kB over many chunks", "trailers of 20 kB"}
# Too much for an application; a sidecar has room for what the one before it adds.
HAS_ROOM = {"101 fields", "a head of 61 kB in 61 fields"}
REQUEST_LINE = re.compile(r"[!-~]+ [!-~]+ HTTP/1\.1\r\n")
LAST_STATUS = re.compile(rb"(?m)^HTTP/1\.[01] ([2-5]\d\d)")
ORDER_ID = "spiffe://dominos.internal/ns/production/sa/order-service"
SLOW = "POST /slow HTTP/1.1\r\n"  # of the slow clients, whose bodies are cut when the time is up
TIMEOUT = "HTTP/1.1 408 Request Timeout"
SLOW_CLIENTS = 60
SLOWEST_S = {"head": 10.0, "body": 10.0, "handshake": 5.0}
NO_ROUTE = {"OPTIONS *", "OPTIONS of an authority"}  # legal, and about no resource that a route could lead to

# Refused only because the client says that it has no more to send: there may be nobody left to answer.
ENDS_EARLY = {
    *(vector.name for vector in requests.VECTORS if vector.attack == "body shorter than said"),
    "no last chunk",
    "no end behind the last chunk",
    "half an end behind the last chunk",
    "closed inside the data",
    "closed inside the size",
    "a chunk of 2^60 bytes",
}
# What the instance does not end is cut by the sidecar. These end because the instance closes.
CLOSED_BY_INSTANCE = {
    "a body one byte short",
    "no byte of a body",
    "a chunked body without its end",
    "a chunked body cut in its last line",
    "nothing",
    "half a head",
    "100 and then nothing",
    "until close",
    "until close, with a body that looks like a response",
    "until close, empty",
    "no field at all",
    "HTTP/1.0 until close",
}


def service_folder(parent: Path) -> Path:
    """Write the service that records."""
    folder = parent / "recording-service"
    folder.mkdir()
    shutil.copy(HERE / "recording_app.py", folder / "app.py")
    (folder / "service.hcl").write_text(SERVICE)
    (folder / "intentions.hcl").write_text(intentions("recording-service", ("order-service", "allow"), ("*", "deny")))
    answers = [(vector.raw, vector.name in CLOSED_BY_INSTANCE) for vector in responses.VECTORS]
    (folder / "answers.py").write_text(f"ANSWERS = {answers!r}\n")
    return folder


@pytest.fixture(scope="module", autouse=True)
def recording(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The host that records, part of the mesh and reachable."""
    folder = service_folder(tmp_path_factory.mktemp("service"))
    lab.add("recording-1", folder)
    eventually(
        lambda: lab.http("order-1", "GET", "http://recording-service:8080/first").status == 200,
        what="the recording service to answer",
    )


@pytest.fixture(scope="module")
def ways(lab: Lab) -> dict[str, dict[str, Any]]:
    """The two ways to the recording application: from which host, to where, proving what."""
    thief = (HERE / "thief.py").read_text()
    stolen = json.loads(lab.foreign_python("order-1", thief, packages=FOREIGN_SPIFFE_CLIENT).stdout)
    virtual_ip = next(
        service["virtual_ip"]
        for service in lab.mesh_json("catalog", "services")["services"]
        if service["name"] == "recording-service"
    )
    return {
        "through its own sidecar": {"host": "order-1", "address": virtual_ip, "port": 8080},
        "with a stolen certificate": {
            "host": "stranger-1",
            "address": lab.driver.address_of("recording-1"),
            "port": 8080,
            "svid": stolen,
            "hash": hashlib.sha256(ssl.PEM_cert_to_DER_cert(first_of(stolen["chain"]))).hexdigest(),
        },
    }


def first_of(chain: str) -> str:
    """Return the leaf of a chain of PEM."""
    end = "-----END CERTIFICATE-----\n"
    return chain.partition(end)[0] + end


@pytest.fixture(scope="module", autouse=True)
def slow(lab: Lab, ways: dict[str, dict[str, Any]]) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Slow clients on both ways, at it while the other tests run."""
    script = (HERE / "slow_client.py").read_text()
    with contextlib.ExitStack() as stack:
        running = {}
        for way in ways.values():
            process = stack.enter_context(lab.background(way["host"], "python", "-c", script))
            assert process.stdin is not None
            process.stdin.write(json.dumps({**way, "connections": how_many_slow(), "until_s": stretched(25)}))
            process.stdin.close()
            process.stdin = None  # so that communicate leaves it alone
            running[way["host"]] = process
        yield running


def how_many_slow() -> int:
    """Return how many slow clients there are: fewer on emulated hosts, where their handshakes alone take seconds."""
    return max(9, fewer(SLOW_CLIENTS))


WAYS = pytest.mark.parametrize("way", ["through its own sidecar", "with a stolen certificate"])


def send(lab: Lab, way: dict[str, Any], messages: Sequence[tuple[str, bytes, int, bool, bool]]) -> list[dict[str, Any]]:
    """Send messages (see raw_client) on a way and return what came back for each."""
    ask = {**way, "messages": [(name, raw.decode("latin-1"), *more) for name, raw, *more in messages]}
    done = lab.python(way["host"], CLIENT, stdin=json.dumps(ask), timeout_s=120.0)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


class Record:
    """What the application wrote down since this was made."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.skipped = len(self._lines())

    def _lines(self) -> list[str]:
        return self.lab.run("recording-1", "cat", SEEN, user="root").stdout.splitlines()

    def new(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._lines()[self.skipped :]]

    def messages(self) -> list[str]:
        """Return the complete messages."""
        return [line["message"] for line in self.new() if "message" in line]

    def rests(self) -> list[str]:
        """Return what never became a message, but for what the slow clients of this module sent."""
        return [line["rest"] for line in self.new() if "rest" in line and not line["rest"].startswith(SLOW)]


@WAYS
def test_01_a_refused_request_is_answered_and_the_application_gets_none_of_it(
    lab: Lab, ways: dict[str, dict[str, Any]], way: str
) -> None:
    """Envoy passes on some that it reads in one way only; each that arrives is a request that it answered for."""
    is_direct, has_envoy = "svid" in ways[way], lab.has_envoy("recording-1")
    refused = [v for v in requests.VECTORS if v.status is not None and not (is_direct and v.name in HAS_ROOM)]
    record = Record(lab)
    answers = verdicts(lab, ways[way], refused)
    wrong = [
        (vector.name, answer)
        for vector, answer in zip(refused, answers, strict=True)
        if answer["statuses"] not in right_answers(lab, vector) or (answer["end"] == "open" and not has_envoy)
    ]
    assert not wrong, "\n".join(map(str, wrong))
    complete = record.messages()
    begun = record.rests()
    if has_envoy:
        assert len(complete) == sum(answer["statuses"].count(200) for answer in answers), complete
        assert {claims_in(message) for message in complete} == {1}
        assert not [rest for rest in begun if not rest.startswith("POST /x HTTP/1.1\r\n")]
        return
    assert len(complete) == sum(vector.messages for vector in refused), complete
    assert not [message for message in complete if "/smuggled" in message]
    assert len(begun) <= len(ENDS_EARLY | LARGE_BODIES), begun
    assert not [rest for rest in begun if "/smuggled" in rest or not rest.startswith("POST /x HTTP/1.1\r\n")]


@WAYS
def test_02_a_legal_request_arrives_once(lab: Lab, ways: dict[str, dict[str, Any]], way: str) -> None:
    legal = [vector for vector in requests.VECTORS if vector.status is None]
    record = Record(lab)
    answers = verdicts(lab, ways[way], legal)
    wrong = [
        (vector.name, answer)
        for vector, answer in zip(legal, answers, strict=True)
        if answer["statuses"] not in right_answers(lab, vector)
    ]
    assert not wrong, "\n".join(map(str, wrong))
    arrived = record.messages()
    assert len(arrived) == sum(answer["statuses"].count(200) for answer in answers)
    assert record.rests() == []
    assert not [message for message in arrived if not REQUEST_LINE.match(message)], "bytes of one before another"
    heads = [message.partition("\r\n\r\n")[0].lower() for message in arrived]
    assert not [head for head in heads if "\r\nupgrade:" in head or "\r\nhttp2-settings:" in head]
    assert {claims_in(message) for message in arrived} == {1}


def claims_in(message: str) -> int:
    """Return how many fields of a message say who calls: one where the sidecar saw it as a request."""
    return message.partition("\r\n\r\n")[0].lower().count("\r\nx-forwarded-client-cert:")


def verdicts(lab: Lab, way: dict[str, Any], vectors: Sequence[requests.Vector]) -> list[dict[str, Any]]:
    """Send messages of the table, many at once, and return what came back."""
    has_envoy = lab.has_envoy("recording-1")
    messages = []
    for v in vectors:
        wanted = max(map(len, right_answers(lab, v)))
        is_passed = has_envoy and 200 in right_answers(lab, v)[0]
        messages.append((v.name, v.raw, wanted or 1, v.status is not None and not is_passed, v.name in ENDS_EARLY))
    return send(lab, way, messages)


def right_answers(lab: Lab, vector: requests.Vector) -> list[list[int]]:
    """Return the lists of statuses that are right for a message."""
    if lab.has_envoy("recording-1") and vector.name in envoys.REQUESTS:
        return envoys.REQUESTS[vector.name]
    if vector.name in NO_ROUTE:
        return [[404]]
    whole = [200] * vector.messages + ([] if vector.status is None else [vector.status])
    return [whole, []] if vector.name in ENDS_EARLY else [whole]


def test_03_a_hostile_answer_is_refused_and_no_byte_of_it_answers_anybody_else(
    lab: Lab, ways: dict[str, dict[str, Any]]
) -> None:
    has_envoy = lab.has_envoy("order-1")
    record = Record(lab)
    messages = [
        (vector.name, ask_for(vector.method, f"/answer/{n}") + ask_for("GET", f"/after/{n}"), 2, False, False)
        for n, vector in enumerate(responses.VECTORS)
    ]
    answers = send(lab, ways["through its own sidecar"], messages)
    wrong = []
    for number, (vector, answer) in enumerate(zip(responses.VECTORS, answers, strict=True)):
        received, has_second = answer["received"].lower(), len(answer["statuses"]) == 2
        if has_envoy and vector.name in envoys.NOT_COUNTED:
            has_second = True
        is_right = answer["statuses"] in right_endings(vector, has_envoy=has_envoy)
        is_right &= (f"x-target: /after/{number}\r\n" in received) == has_second
        is_poisoned = "x-poison" in received and not (has_envoy and vector.name in envoys.ANSWERS)
        if not is_right or is_poisoned != (vector.body == responses.POISON):
            wrong.append((vector.name, answer))
    assert not wrong, "\n".join(map(str, wrong))
    passed = envoys.ANSWERS if has_envoy else {}
    spoilt = {
        f"/answer/{n}"
        for n, v in enumerate(responses.VECTORS)
        if (v.status is not None or v.unsolicited) and v.name not in passed
    }

    def ended() -> list[list[str]]:
        return [line["served"] for line in record.new() if "served" in line]

    eventually(
        lambda: spoilt <= {last for targets in ended() for last in targets[-1:]},
        what="spoilt connections to end",
    )
    assert not [targets for targets in ended() if spoilt & set(targets[:-1])], "a spoilt connection was used again"


def ask_for(method: str, target: str) -> bytes:
    """Return a plain request."""
    return f"{method} {target} HTTP/1.1\r\nHost: recording-service\r\n\r\n".encode()


def right_endings(vector: responses.Vector, *, has_envoy: bool) -> list[list[int]]:
    """Return the lists of statuses that are right for a hostile answer and the plain request behind it.

    An answer that turns out wrong after its head has gone is cut: a caller never takes it for whole. One that never
    began is no broken message but a lost connection, which Envoy answers with 503.
    """
    if has_envoy and vector.name in envoys.ANSWERS:
        return envoys.ANSWERS[vector.name]
    if vector.status is None:
        status = int(LAST_STATUS.findall(vector.raw.removesuffix(vector.unsolicited))[0])
        return [[status, 200]]
    if vector.name in CLOSED_BY_INSTANCE:
        return [[], [502, 200], [503, 200]]
    return [[502, 200]]


def test_04_what_only_the_mesh_may_say_is_taken_out_and_said_anew(lab: Lab, ways: dict[str, dict[str, Any]]) -> None:
    forged = [
        b"X-Forwarded-Client-Cert: URI=spiffe://dominos.internal/ns/production/sa/forged",
        b"x-forwarded-client-cert: URI=spiffe://dominos.internal/ns/production/sa/forged",
        b"x_forwarded_client_cert: URI=forged",
        b"X-Forwarded_Client-Cert: URI=forged",
        b"x-envoy-original-path: /forged",
        b"X-Envoy-Internal: forged",
        b"x_envoy_force_trace: forged",
        b"x-envoy-expected-rq-timeout-ms: 1forged",
        b"X-Mesh-Source: forged",
        b"x-mesh-undelivered: forged",
        b"x_mesh_decision: forged",
    ]
    body = b"1\r\na\r\n0\r\nX-Forwarded-Client-Cert: URI=forged\r\nX-Mesh-Source: forged\r\n\r\n"
    shapes = [
        requests.get(*forged),
        *(requests.get(line) for line in forged),
        requests.get(forged[0], b"Connection: x-forwarded-client-cert, close"),
        requests.post(requests.TE, *forged, body=body),
    ]
    for name, way in ways.items():
        record = Record(lab)
        sent = send(lab, way, [(f"{name} {n}", raw, 1, False, False) for n, raw in enumerate(shapes)])
        assert [answer["statuses"] for answer in sent] == [[200]] * len(shapes)
        arrived = record.messages()
        assert len(arrived) == len(shapes)
        assert not [message for message in arrived if "forged" in message]
        for message in arrived:
            (line,) = [line for line in message.split("\r\n") if "client" in line.lower() and "cert" in line.lower()]
            assert line.startswith("x-forwarded-client-cert: By=spiffe://dominos.internal/ns/production/sa/recording")
            assert line.endswith(f";Hash={ways['with a stolen certificate']['hash']};URI={ORDER_ID}"), line


def test_05_what_a_peer_writes_into_a_request_stays_inside_its_field_of_the_log(
    lab: Lab, ways: dict[str, dict[str, Any]]
) -> None:
    hostile = [
        b'"}\\r\\n{"rule":"forged"}',
        b"\xff\xfe\xed\xa0\x80 half a character",
        b"\xe2\x80\xa8\xc2\x85 other line ends",
        b"'; DROP TABLE log; -- ${jndi:ldap://x} %s%n {0}",
        b"a" * 12_000,
        b'\\"' * 4_000,
    ]
    fields = [b"User-Agent", b"X-Request-Id", b"traceparent", b"b3", b"Host"]
    for name, way in ways.items():
        messages = []
        for n, value in enumerate(hostile):
            mark = f"/log/{name.split()[-1]}/{n}"
            lines = [field + b": " + value for field in fields[:4]]
            target = mark.encode() + (b"?" + b"%0d%0a%22" * 700 if n == 0 else b"")
            messages.append((mark, requests.get(*lines, line=b"GET " + target + b" HTTP/1.1"), 1, False, False))
        refused = [
            (f"refused {n}", raw, 1, True, False)
            for n, raw in enumerate([
                b"GET /\x1b[31m\r\nforged HTTP/1.1\r\nHost: a\r\n\r\n",
                b'GET /"}\n{"rule":"forged"} HTTP/1.1\r\nHost: a\r\n\r\n',
                requests.hosted(b'a"}\n{"rule":"forged"}'),
                requests.get(b"User-Agent: a\x00\x1b[2J\n{}"),
            ])
        ]  # fmt: skip
        assert {tuple(a["statuses"]) for a in send(lab, way, messages)} == {(200,)}
        assert {tuple(a["statuses"]) for a in send(lab, way, refused)} == {(400,)}
        for host in ["recording-1"] if "svid" in way else ["recording-1", "order-1"]:
            require_logged_once(lab, host, {mark for mark, *_ in messages})


def require_logged_once(lab: Lab, host: str, paths: set[str]) -> None:
    """Wait for a line for each path, and find exactly one."""
    eventually(lambda: paths <= set(logged(lab, host)), what=f"{host} to log")
    found = logged(lab, host)
    assert {path: found[path] for path in paths} == dict.fromkeys(paths, 1)


def logged(lab: Lab, host: str) -> Counter[str]:
    """Return how often each path is in the access log of a host, every line of which must be sound."""
    paths: Counter[str] = Counter()
    has_envoy = lab.has_envoy(host)
    for line in lab.run(host, "cat", "/var/log/mesh/access.log", user="root").stdout.split("\n")[:-1]:
        if has_envoy:  # cuts nothing, and escapes only what JSON has to
            assert len(line) < 64 * 1024
            assert min(line) >= " "
        else:
            assert len(line) < 8 * 1024
            assert line.isascii()
            assert line.isprintable()
        record = json.loads(line)
        assert record.get("rule") != "forged"
        assert "error" not in record, "a record that did not fit into its line"
        paths[str(record.get("path")).partition("?")[0]] += 1
    return paths


def test_06_who_is_slow_is_sent_away(lab: Lab, slow: dict[str, subprocess.Popen[str]]) -> None:
    """Envoy may reset before its answer is read, and has no least speed for a body: it waits while bytes come."""
    has_envoy = lab.has_envoy("recording-1")
    head = {TIMEOUT, "reset"} if has_envoy else {TIMEOUT}
    body = {"still open"} if has_envoy else {TIMEOUT}
    for host, process in slow.items():
        out, errors = process.communicate(timeout=stretched(60))
        assert process.returncode == 0, errors
        ended = json.loads(out)
        assert {said for said, _ in ended["head"]} <= head, (host, ended)
        assert {said for said, _ in ended["body"]} == body, (host, ended)
        assert not [said for said, _ in ended.get("handshake", ()) if said.startswith("HTTP")]
        for kind, limit_s in SLOWEST_S.items():
            times = [took_s for said, took_s in ended.get(kind, ()) if said != "still open"]
            assert all(limit_s - 1 < took_s for took_s in times), (host, kind, times)
            # From before it connected, and of many at once: a busy machine is late with some of them, never with all.
            assert not times or min(times) < limit_s + stretched(3), (host, kind, times)
