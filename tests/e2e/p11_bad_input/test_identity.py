"""Promise 11, identity: a stolen or reused token, a CSR that asks for more, a caller that speaks for somebody else.

Every attempt is made over the real ports of the control plane, from a real host: with a token or with nothing at the
join port, and at the mutual TLS port with the certificate and key of a real member, as its application may read them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID
from envoy.service.discovery.v3 import discovery_pb2

from mesh.api import rpc
from mesh.ca.rejoin import digest_of, make_secret
from mesh.spiffe import workload_proto
from tests.e2e.kit import Lab, eventually

LAB_HOSTS = ("cp-1", "payment-1", "ledger-1", "stranger-1")
CLIENT = (Path(__file__).parent / "grpc_client.py").read_text()
JOIN_PORT, MEMBER_PORT = "10.77.1.2:8503", "10.77.1.2:8502"
OWN = "spiffe://dominos.internal/ns/production/sa/payment-service"
OTHERS = "spiffe://dominos.internal/ns/production/sa/ledger-service"
CONTROL_PLANE = "spiffe://dominos.internal/ns/mesh/sa/control-plane"
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
CLUSTERS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
KEY = ec.generate_private_key(ec.SECP256R1())

FETCH = """
import base64, grpc
with grpc.insecure_channel("unix:/run/mesh/agent.sock") as channel:
    fetch = channel.unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")
    print(base64.b64encode(next(fetch(b"", metadata=[("workload.spiffe.io", "true")], timeout=5))).decode())
"""


@dataclass(frozen=True)
class Outcome:
    """How one call ended."""

    code: str
    details: str
    answers: Sequence[str]


@pytest.fixture(scope="module")
def roots(lab: Lab) -> dict[str, str]:
    """Whom to trust: all that somebody without an identity has."""
    return {"roots": lab.run("payment-1", "cat", "/etc/mesh/roots.pem").stdout}


@pytest.fixture(scope="module")
def member(lab: Lab, roots: dict[str, str]) -> dict[str, str]:
    """The certificate and key of payment-1, read at its agent's socket as its application may."""
    answer = base64.b64decode(lab.python("payment-1", FETCH).stdout)
    svid = workload_proto.X509SVIDResponse.FromString(answer).svids[0]
    chain = _certificates(svid.x509_svid)
    key = load_der_private_key(svid.x509_svid_key, None)
    return {
        **roots,
        "chain": "".join(each.public_bytes(Encoding.PEM).decode() for each in chain),
        "key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    }


@pytest.fixture(scope="module", autouse=True)
def catalog_is_as_before(lab: Lab) -> Iterator[None]:
    """Whatever was tried in this module: the same instances, of the same services, at the same addresses."""
    before = _instances(lab)
    yield
    assert _instances(lab) == before


def test_01_a_token_is_for_one_host_one_service_one_use(lab: Lab, roots: dict[str, str]) -> None:
    token = _token(lab)
    asked = (
        (_join_request(token[:-4] + "AAAA"), "unknown token"),
        (_join_request(token, host="stranger-1"), "it is for host"),
        (_join_request(token, service="ledger-service"), "it is for service"),
        (_join_request(token, datacenter="west"), "it is for datacenter"),
        (_join_request(token), ""),  # what was refused did not use it up
        (_join_request(token), "it was used at"),
    )
    outcomes = _speak(lab, roots, [_calling(JOIN_PORT, rpc.JOIN, request) for request, _ in asked])
    for outcome, (_, why) in zip(outcomes, asked, strict=True):
        assert outcome.code == ("PERMISSION_DENIED" if why else "OK"), outcome
        assert why in outcome.details


def test_01_a_stolen_token_is_worth_nothing_at_another_address(lab: Lab, roots: dict[str, str]) -> None:
    token = _token(lab, "--from-address", "10.77.1.12")
    asking = [_calling(JOIN_PORT, rpc.JOIN, _join_request(token))]
    stolen = _speak(lab, roots, asking, host="stranger-1", user="other")[0]
    assert (stolen.code, "it is for a host at 10.77.1.12" in stolen.details) == ("PERMISSION_DENIED", True)
    assert _speak(lab, roots, asking)[0].code == "OK", "and its owner can still use it"


def test_02_of_many_that_present_one_token_at_once_one_gets_a_certificate(lab: Lab, roots: dict[str, str]) -> None:
    request = _encoded(_join_request(_token(lab)))
    calls = [{"target": JOIN_PORT, "path": rpc.JOIN.path, "kind": "together", "requests": [request], "times": 16}]
    codes = _speak(lab, roots, calls)[0].answers
    assert sorted(codes) == ["OK", *["PERMISSION_DENIED"] * 15]


def test_03_an_expired_token_buys_nothing(lab: Lab, roots: dict[str, str]) -> None:
    done = lab.mesh_json("token", "create", "--service", "payment-service", "--host", "ghost-1", "--ttl", "1s")
    expires = datetime.fromisoformat(done["expires_at"])
    eventually(lambda: datetime.now(UTC) > expires + timedelta(milliseconds=50), what="its end")
    refused = _join(lab, roots, done["token"])
    assert (refused.code, "it expired at" in refused.details) == ("PERMISSION_DENIED", True)


def _csr(*names: x509.GeneralName, key: Any = KEY, subject: str = "", **extensions: x509.ExtensionType) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    for extension in extensions.values():
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def _uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


AUTHORITY = x509.BasicConstraints(ca=True, path_length=None)
SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
)  # fmt: skip
BULK = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"x" * 20_000)
HOSTILE_CSRS = {  # what it is -> the CSR, and what the refusal says
    "another service's name": (_csr(_uri(OTHERS)), "asks for"),
    "the control plane's name": (_csr(_uri(CONTROL_PLANE)), "asks for"),
    "its own and another's": (_csr(_uri(OWN), _uri(OTHERS)), "asks for"),
    "the control plane's DNS name": (_csr(_uri(OWN), x509.DNSName("control-plane.mesh")), "asks for"),
    "almost its own name": (_csr(_uri(OWN + "/")), "asks for"),
    "its own name in another case": (_csr(_uri(OWN.replace("payment", "Payment"))), "asks for"),
    "to be an authority": (_csr(_uri(OWN), basic=AUTHORITY), "cA true"),
    "to sign certificates": (_csr(_uri(OWN), usage=SIGNS_CERTIFICATES), "keyCertSign"),
    "giant": (_csr(_uri(OWN), bulk=BULK), "bytes, at most"),
    "a weak key": (_csr(key=rsa.generate_private_key(65537, 1024)), ""),
    "a signature that does not hold": (_csr()[:-1] + bytes([_csr()[-1] ^ 1]), ""),
    "with something behind it": (_csr() + b"more", ""),
    "garbage": (b"\x30\x82garbage", "malformed"),
    "nothing": (b"", "malformed"),
}


def test_04_a_csr_that_is_more_than_a_key_is_refused_at_both_ports(
    lab: Lab, roots: dict[str, str], member: dict[str, str]
) -> None:
    token = _token(lab)
    joins = [_calling(JOIN_PORT, rpc.JOIN, _join_request(token, csr_der=csr)) for csr, _ in HOSTILE_CSRS.values()]
    renewals = [_calling(MEMBER_PORT, rpc.SIGN, rpc.SignRequest(csr_der=csr)) for csr, _ in HOSTILE_CSRS.values()]
    good = _calling(JOIN_PORT, rpc.JOIN, _join_request(token))
    *joining, after = _speak(lab, roots, [*joins, good])
    renewing = _speak(lab, member, renewals)
    for (what, (_, why)), *outcomes in zip(HOSTILE_CSRS.items(), joining, renewing, strict=True):
        for outcome in outcomes:
            assert outcome.code == "PERMISSION_DENIED", (what, outcome)
            assert "checking a CSR" in outcome.details
            assert why in outcome.details
    assert after.code == "OK", "a refused CSR does not use up the token"


def test_05_what_is_issued_names_the_caller_and_nothing_else(lab: Lab, member: dict[str, str]) -> None:
    modest = (_csr(), _csr(_uri(OWN)), _csr(subject="admin"))
    for outcome in _speak(
        lab, member, [_calling(MEMBER_PORT, rpc.SIGN, rpc.SignRequest(csr_der=csr)) for csr in modest]
    ):
        issued = rpc.Issued.FromString(base64.b64decode(outcome.answers[0]))
        leaf = x509.load_der_x509_certificate(issued.chain_der[0])
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert list(names) == [_uri(OWN)]
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert list(leaf.subject) == []


def test_07_more_than_a_message_may_hold_is_refused(lab: Lab, roots: dict[str, str], member: dict[str, str]) -> None:
    giant = b"x" * 5 * 1024 * 1024
    assert _join(lab, roots, "meshjoin-guess", csr=giant[: 100 * 1024]).code == "RESOURCE_EXHAUSTED"
    assert _call(lab, member, rpc.SIGN, rpc.SignRequest(csr_der=giant)).code == "RESOURCE_EXHAUSTED"
    assert lab.mesh_json("catalog", "services"), "and the control plane goes on"


FOREIGN_NODES = {  # node id -> what the refusal says
    "ledger-1/ledger-service": "is not the caller",
    "payment-2/payment-service": "is not the caller",
    "payment-1/ledger-service": "is not the caller",
    "payment-1/payment-service/../ledger-service": "reading node id",
    "": "reading node id",
}


@pytest.mark.parametrize("mode", ["DeltaAggregatedResources", "StreamAggregatedResources"])
def test_08_a_discovery_stream_is_for_the_callers_own_node(lab: Lab, member: dict[str, str], mode: str) -> None:
    own, *foreign = _speak(
        lab, member, [_discovering(mode, node) for node in ("payment-1/payment-service", *FOREIGN_NODES)]
    )
    assert own.code == "OK"
    for outcome, why in zip(foreign, FOREIGN_NODES.values(), strict=True):
        assert outcome.code == ("PERMISSION_DENIED" if "caller" in why else "INVALID_ARGUMENT"), outcome
        assert why in outcome.details
        assert outcome.answers == []


def test_09_a_stream_cannot_become_another_nodes_later(lab: Lab, member: dict[str, str]) -> None:
    turning = _discovering("DeltaAggregatedResources", "payment-1/payment-service", "ledger-1/ledger-service")
    assert _speak(lab, member, [turning])[0].code == "PERMISSION_DENIED"


def _service(**fields: Any) -> Any:
    return rpc.RegisterRequest(service=rpc.ServiceMessage(**{"name": "payment-service", "port": 8080, **fields}))


def _check(**fields: Any) -> Any:
    return rpc.CheckMessage(**{"id": "health", "name": "health", "kind": "http", **fields})


HOSTILE_CALLS = {  # what it is -> the call, and how it ends
    "another service": (rpc.REGISTER, _service(name="ledger-service"), "PERMISSION_DENIED"),
    "no service": (rpc.REGISTER, _service(name=""), "PERMISSION_DENIED"),
    "another's id": (rpc.REGISTER, _service(id="../ledger-1/ledger-service"), "INVALID_ARGUMENT"),
    "a port of the mesh": (rpc.REGISTER, _service(port=15006), "INVALID_ARGUMENT"),
    "no port": (rpc.REGISTER, _service(port=0), "INVALID_ARGUMENT"),
    "a port that is none": (rpc.REGISTER, _service(port=70000), "INVALID_ARGUMENT"),
    "a giant tag": (rpc.REGISTER, _service(tags=["x" * 600]), "INVALID_ARGUMENT"),
    "a hundred tags": (rpc.REGISTER, _service(tags=["x"] * 100), "INVALID_ARGUMENT"),
    "one check twice": (rpc.REGISTER, _service(checks=[_check()] * 2), "INVALID_ARGUMENT"),
    "a script": (rpc.REGISTER, _service(checks=[_check(kind="script")]), "INVALID_ARGUMENT"),
    "the mesh's own check": (rpc.REGISTER, _service(checks=[_check(id="agent-alive")]), "INVALID_ARGUMENT"),
    "to take another's instance out": (
        rpc.DEREGISTER,
        rpc.DeregisterRequest(instance_id="ledger-1/ledger-service"),
        "INVALID_ARGUMENT",
    ),
}


def test_10_a_member_registers_itself_and_nobody_else(lab: Lab, member: dict[str, str]) -> None:
    calls = [_calling(MEMBER_PORT, method, request) for method, request, _ in HOSTILE_CALLS.values()]
    outcomes = _speak(lab, member, calls)
    ended = {what: outcome.code for what, outcome in zip(HOSTILE_CALLS, outcomes, strict=True)}
    assert ended == {what: code for what, (_, _, code) in HOSTILE_CALLS.items()}


def test_11_a_member_reports_on_nobody_else(lab: Lab, member: dict[str, str]) -> None:
    for instance, codes in (("ledger-1/ledger-service", {"INVALID_ARGUMENT"}), ("ledger-service", {"NOT_FOUND"})):
        report = _encoded(rpc.CheckReport(instance_id=instance, check_id="health", status="critical"))
        calls = [{"target": MEMBER_PORT, "path": rpc.REPORT.path, "kind": "stream", "requests": [report]}]
        assert {each.code for each in _speak(lab, member, calls)} == codes


def test_12_without_a_certificate_of_the_mesh_nobody_is_listened_to(
    lab: Lab, roots: dict[str, str], member: dict[str, str]
) -> None:
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    now = datetime.now(UTC)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")]))
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([_uri(OWN)]), critical=True)
        .sign(KEY, SHA256())
    )
    forged_pem = forged.public_bytes(Encoding.PEM).decode()
    request = rpc.SignRequest(csr_der=_csr())
    assert _call(lab, roots, rpc.SIGN, request).code == "UNAVAILABLE", "no certificate: the handshake fails"
    assert _call(lab, {**roots, "key": key, "chain": forged_pem}, rpc.SIGN, request).code == "UNAVAILABLE"
    assert _call(lab, member, rpc.SIGN, request, target=JOIN_PORT).code == "UNIMPLEMENTED", "a port for joining only"
    assert _call(lab, member, rpc.SIGN, request).code == "OK"


def test_13_a_certificate_that_calls_from_a_second_address_raises_an_alarm(lab: Lab, member: dict[str, str]) -> None:
    for host, user in (("payment-1", "agent"), ("stranger-1", "other")):
        calls = [_calling(MEMBER_PORT, rpc.SIGN, rpc.SignRequest(csr_der=_csr()))]
        assert _speak(lab, member, calls, host=host, user=user)[0].code == "OK"
    eventually(
        lambda: "one certificate calls from two addresses" in lab.driver.logs("cp-1", "control-plane", lines=500),
        what="the alarm",
    )


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.77.1.2:8500/v1/config",
        "file:///etc/passwd",
        "http://2130706434/",
        "http://user@127.0.0.1:8080@10.77.1.14/",
    ],
)
def test_14_a_health_check_looks_at_its_own_host_only(lab: Lab, tmp_path: Path, target: str) -> None:
    text = (
        'service {\n  name = "payment-service"\n  port = 8080\n'
        f'  check {{\n    http = "{target}"\n    interval = "1s"\n  }}\n}}\n'
    )
    path = tmp_path / "service.hcl"
    path.write_text(text)
    refused = lab.mesh("validate", str(path))
    assert refused.exit_code == 1, refused
    assert "service.hcl:5" in refused.stderr + refused.stdout
    path.write_text(text.replace(target, "http://127.0.0.1:8080/health"))
    assert lab.mesh("validate", str(path)).exit_code == 0


FIRST, SECOND, THIRD = (make_secret(bytes([each]) * 32) for each in (1, 2, 3))


def _rejoin(secret: str, following: str, **changed: Any) -> dict[str, Any]:
    fields = {"rejoin_secret": secret, "next_rejoin_digest": digest_of(following), **changed}
    return _calling(JOIN_PORT, rpc.JOIN, _join_request("", **fields))


def _begin(lab: Lab, roots: dict[str, str], *bound: str) -> None:
    """Join ghost-1 with a token, and name FIRST as what it will come back with."""
    request = _join_request(_token(lab, *bound), next_rejoin_digest=digest_of(FIRST))
    assert _speak(lab, roots, [_calling(JOIN_PORT, rpc.JOIN, request)])[0].code == "OK"


def _copies(lab: Lab, what: str) -> int:
    """How often the control plane has told of a copy of ghost-1's secret."""
    url = "http://10.77.1.2:8500/metrics"
    asked = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=5).read().decode())"
    lines = lab.python("cp-1", asked, user="root").stdout.splitlines()
    mine = [line for line in lines if "rejoin_copies" in line and "ghost-1" in line and what in line]
    return int(float(mine[0].split()[-1])) if mine else 0


def test_15_a_rejoin_secret_is_for_one_host_one_service_one_use(lab: Lab, roots: dict[str, str]) -> None:
    _begin(lab, roots)
    asked = (
        (_rejoin(SECOND, THIRD), "NOT_FOUND", "unknown secret"),
        (_rejoin("meshrejoin-" + "A" * 5000, THIRD), "NOT_FOUND", "unknown secret"),
        (_rejoin(digest_of(FIRST), THIRD), "NOT_FOUND", "unknown secret"),
        (_rejoin(FIRST, SECOND, host="stranger-1"), "NOT_FOUND", "unknown secret"),
        (_rejoin(FIRST, SECOND, host="payment-1"), "NOT_FOUND", "unknown secret"),
        (_rejoin(FIRST, SECOND, service="ledger-service"), "NOT_FOUND", "unknown secret"),
        (_rejoin(FIRST, SECOND, next_rejoin_digest="garbage"), "INVALID_ARGUMENT", "no SHA-256"),
        (_rejoin(FIRST, SECOND, next_rejoin_digest=""), "PERMISSION_DENIED", "missing or was there before"),
        (_rejoin(FIRST, FIRST), "PERMISSION_DENIED", "missing or was there before"),
        (_rejoin(FIRST, SECOND, csr_der=_csr(_uri(OTHERS))), "PERMISSION_DENIED", "asks for"),
        (_rejoin(FIRST, SECOND), "OK", ""),  # what was refused did not use it up
        (_rejoin(FIRST, THIRD), "PERMISSION_DENIED", "presented twice"),
        (_rejoin(SECOND, THIRD), "PERMISSION_DENIED", "revoked"),
    )
    outcomes = _speak(lab, roots, [call for call, _, _ in asked])
    for outcome, (_, code, why) in zip(outcomes, asked, strict=True):
        assert (outcome.code, why in outcome.details) == (code, True), outcome
    assert _copies(lab, "presented twice") == 1
    assert "a copy of a rejoin secret is out" in lab.driver.logs("cp-1", "control-plane", lines=500)
    _begin(lab, roots)  # a new token begins a new line
    assert _speak(lab, roots, [_rejoin(FIRST, SECOND)])[0].code == "OK"


def test_16_a_stolen_rejoin_secret_is_worth_nothing_at_another_address(lab: Lab, roots: dict[str, str]) -> None:
    _begin(lab, roots, "--from-address", "10.77.1.12")
    before = _copies(lab, "another address")
    stolen = _speak(lab, roots, [_rejoin(FIRST, SECOND)], host="stranger-1", user="other")[0]
    assert (stolen.code, "from another address" in stolen.details) == ("PERMISSION_DENIED", True)
    assert _copies(lab, "another address") == before + 1
    assert _speak(lab, roots, [_rejoin(FIRST, SECOND)])[0].code == "OK", "and its owner can still use it"


def test_17_of_many_that_present_one_rejoin_secret_at_once_one_gets_a_certificate(
    lab: Lab, roots: dict[str, str]
) -> None:
    _begin(lab, roots)
    calls = [{**_rejoin(FIRST, SECOND), "kind": "together", "times": 16}]
    assert sorted(_speak(lab, roots, calls)[0].answers) == ["OK", *["PERMISSION_DENIED"] * 15]
    assert _speak(lab, roots, [_rejoin(SECOND, THIRD)])[0].code == "PERMISSION_DENIED", "and the line is at its end"


def test_18_a_revoked_host_has_nothing_left_to_come_back_with(lab: Lab, roots: dict[str, str]) -> None:
    _begin(lab, roots)
    unused = _token(lab)
    assert lab.mesh("token", "revoke", "--service", "payment-service", "--host", "ghost-1").exit_code == 0
    assert _speak(lab, roots, [_rejoin(FIRST, SECOND)])[0].code == "NOT_FOUND"
    assert _join(lab, roots, unused).code == "PERMISSION_DENIED"
    assert lab.mesh("token", "revoke", "--service", "payment-service", "--host", "ghost-1").exit_code != 0


def test_19_nobody_but_the_agent_reads_what_it_would_come_back_with(lab: Lab) -> None:
    path = "/var/lib/mesh/rejoin.json"
    assert "meshrejoin-" in lab.run("payment-1", "cat", path, user="agent").stdout
    for user in ("app", "sidecar", "other"):
        refused = lab.run("payment-1", "cat", path, user=user)
        assert (refused.exit_code != 0, refused.stdout) == (True, ""), user


# ----------------------------------------------------------------------------------------------- the attacker's hands


def _token(lab: Lab, *more: str) -> str:
    words = (*more, "--service", "payment-service", "--host", "ghost-1", "--datacenter", "east")
    return str(lab.mesh_json("token", "create", *words)["token"])


def _join_request(token: str, **changed: Any) -> Any:
    fields = {"host": "ghost-1", "service": "payment-service", "csr_der": _csr(), "datacenter": "east", **changed}
    return rpc.JoinRequest(token=token, **fields)


def _join(lab: Lab, pem: dict[str, str], token: str, *, csr: bytes | None = None, **changed: Any) -> Outcome:
    """Join from a host that has no identity."""
    request = _join_request(token, **changed, **({} if csr is None else {"csr_der": csr}))
    return _speak(lab, pem, [_calling(JOIN_PORT, rpc.JOIN, request)])[0]


def _call(lab: Lab, pem: dict[str, str], method: rpc.Method, request: Any, target: str = MEMBER_PORT) -> Outcome:
    return _speak(lab, pem, [_calling(target, method, request)])[0]


def _calling(target: str, method: rpc.Method, request: Any) -> dict[str, Any]:
    return {"target": target, "path": method.path, "kind": "unary", "requests": [_encoded(request)]}


def _discovering(mode: str, *nodes: str) -> dict[str, Any]:
    message = discovery_pb2.DeltaDiscoveryRequest if mode.startswith("Delta") else discovery_pb2.DiscoveryRequest
    ids = [{"id": node, "cluster": node.partition("/")[2]} for node in nodes]
    requests = [_encoded(message(node=node, type_url=CLUSTERS)) for node in ids]
    return {"target": MEMBER_PORT, "path": f"{ADS}/{mode}", "kind": "stream", "requests": requests}


def _speak(
    lab: Lab, pem: dict[str, str], calls: list[dict[str, Any]], *, host: str = "payment-1", user: str = "agent"
) -> list[Outcome]:
    """Speak to the control plane, from payment-1 as its agent's user: nobody else there gets as far as its ports."""
    done = lab.python(host, CLIENT, user=user, stdin=json.dumps({"pem": pem, "calls": calls}))
    assert done.exit_code == 0, done.stderr
    return [Outcome(**each) for each in json.loads(done.stdout)]


def _encoded(message: Any) -> str:
    return base64.b64encode(message.SerializeToString()).decode()


def _instances(lab: Lab) -> list[tuple[str, ...]]:
    fields = ("id", "service", "host", "address", "port", "status")
    return sorted(
        tuple(str(each.get(field)) for field in fields) for each in lab.mesh_json("catalog", "instances")["instances"]
    )


def _certificates(ders: bytes) -> list[x509.Certificate]:
    """Split certificates that lie one behind the other."""
    found = []
    while ders:
        length = int.from_bytes(ders[2:4]) + 4  # SEQUENCE with a length of two bytes: 256 to 65535
        found.append(x509.load_der_x509_certificate(ders[:length]))
        ders = ders[length:]
    return found
