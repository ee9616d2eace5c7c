"""Promise 3: both sides of every call prove who they are, and whoever proves it wrongly is refused by name.

The hostile certificates are signed with the lab's own authority, whose keys only root on cp-1 can read: nothing but the
one named fault is wrong with them.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from mesh.base import ports
from mesh.ca.authority import BACKDATE, SigningCa, make_intermediate, make_root
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.verify import verify_peer
from tests.e2e.kit import Lab, eventually
from tests.e2e.pace import stretched
from tests.fakes.certificates import HOSTILE
from tests.fakes.forge import TRUST_DOMAIN, Forge, Shown, signer

# Envoy's counters of a listener's TLS that grow when it refuses somebody.
REFUSALS = ("connection_error", "fail_verify_no_cert", "fail_verify_error", "fail_verify_san", "fail_verify_cert_hash")
LAB_HOSTS = ("cp-1", "order-1", "payment-1", "inventory-1", "stranger-1")
HERE = Path(__file__).parent
ID = f"spiffe://{TRUST_DOMAIN}/ns/production/sa/"
LEAF_TTL = timedelta(hours=24)
CA_FOLDER = "/var/lib/mesh/control-plane/ca"


# ------------------------------------------------------------------------------- what the tests hold in their hands


@pytest.fixture(scope="module")
def authority(lab: Lab) -> dict[str, SigningCa]:
    """The lab's signing keys, as only root on the control plane's host can read them."""
    files = {name: lab.run("cp-1", "cat", f"{CA_FOLDER}/{name}.pem", user="root") for name in ("root", "east", "west")}
    return {name: SigningCa.from_pem(*[done.stdout.encode()] * 2) for name, done in files.items()}


@pytest.fixture
def forge(authority: dict[str, SigningCa]) -> Forge:
    return Forge(TRUST_DOMAIN, signer(authority["root"]), signer(authority["east"]), datetime.now(UTC))


def pem_of(shown: Shown) -> str:
    return (shown.chain_pem() + shown.key_pem()).decode()


def dial(lab: Lab, pem: str, *, host: str = "payment-1", **ask: Any) -> dict[str, Any]:
    """Dial a service's port from the host outside the mesh, as somebody with a certificate."""
    ask = {"version": "1.3", "paths": ["/charges"], "session_until": 0, **ask}
    whom = {"address": lab.driver.address_of(host), "port": 8080, "pem": pem}
    done = lab.python("stranger-1", (HERE / "dial.py").read_text(), stdin=json.dumps({**whom, **ask}))
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))


def require_refusal(lab: Lab, dialled: dict[str, Any], fault: str, before: int) -> None:
    """Hold what payment-1's sidecar said of a connection against the fault; Envoy only counts those it refuses.

    Args:
        before: what `handshakes_refused` was before it was dialled.
    """
    if lab.has_envoy("payment-1"):
        eventually(lambda: handshakes_refused(lab) > before, what="Envoy to count the refusal")
    else:
        assert fault in refusal_of(lab, dialled)


def handshakes_refused(lab: Lab) -> int:
    """Return how many connections Envoy has closed for what was wrong with their TLS; 0 where there is none."""
    if not lab.has_envoy("payment-1"):
        return 0
    stats = lab.admin("payment-1", "stats?format=json&filter=^listener.0.0.0.0_15006.ssl").json["stats"]
    return sum(one["value"] for one in stats if one["name"].rpartition(".")[2] in REFUSALS)


def refusal_of(lab: Lab, dialled: dict[str, Any]) -> str:
    """Return what payment-1's sidecar said of one connection, found by the caller's port."""
    caller = f"{lab.driver.address_of('stranger-1')}:{dialled['port']}: "

    def said() -> str:
        lines = lab.driver.logs("payment-1", "sidecar", lines=400).splitlines()
        records = [json.loads(line) for line in lines if '"connection refused"' in line]
        records.reverse()  # ports are given again: the last counts
        return next((record["said"].removeprefix(caller) for record in records if caller in record["said"]), "")

    return str(eventually(said, what=f"payment-1 to say why it refused {caller}"))


def verified(lab: Lab, chain: list[str]) -> tuple[str, list[x509.Certificate]]:
    """Verify a chain from a handshake against the roots that `mesh ca roots` prints; return the ID and the chain."""
    roots = TrustBundle.from_pem(TRUST_DOMAIN, lab.mesh("ca", "roots").stdout.encode())
    ders = [base64.b64decode(der) for der in chain]
    peer = verify_peer(ders, roots, now=datetime.now(UTC))
    return str(peer.spiffe_id), [x509.load_der_x509_certificate(der) for der in ders]


def require_chain(lab: Lab, certificates: list[x509.Certificate], datacenter: str) -> None:
    """Hold a chain against what is written: root, intermediate of the datacenter, leaf of 24 hours."""
    known = lab.mesh_json("ca", "roots")
    leaf, intermediate = certificates
    (root,) = [x509.load_pem_x509_certificate(pem.encode()) for pem in known["roots"]]
    assert intermediate == x509.load_pem_x509_certificate(known["intermediates"][datacenter].encode())
    assert f"intermediate {datacenter}" in intermediate.subject.rfc4514_string()
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc - BACKDATE
    assert abs(life - LEAF_TTL) < timedelta(seconds=2)


# ------------------------------------------------------------------------------- who is who


@pytest.mark.parametrize(("host", "datacenter"), [("payment-1", "east"), ("inventory-1", "west")])
def test_01_a_host_proves_its_service_by_the_intermediate_of_its_datacenter(
    lab: Lab, forge: Forge, host: str, datacenter: str
) -> None:
    seen = dial(lab, pem_of(forge.shown(forge.leaf())), host=host, paths=[])
    assert seen["version"] == "TLSv1.3"
    identity, certificates = verified(lab, seen["chain"])
    assert identity == f"{ID}{host.removesuffix('-1')}-service"
    require_chain(lab, certificates, datacenter)


def test_02_both_sides_of_a_call_know_each_other_by_name(lab: Lab) -> None:
    assert lab.http("order-1", "GET", "http://inventory-service:8080/stock/funghi").status == 200
    inbound = eventually(
        lambda: lab.access_log("inventory-1", reporter="destination", path="/stock/"),
        what="inventory-1 to log the call",
    )[-1]
    assert (inbound["downstream_peer"], inbound["downstream_local"]) == (
        f"{ID}order-service",
        f"{ID}inventory-service",
    )
    outbound = eventually(
        lambda: lab.access_log("order-1", reporter="source", path="/stock/"), what="order-1 to log it, too"
    )[-1]
    assert (outbound["upstream_peer"], outbound["upstream_local"]) == (f"{ID}inventory-service", f"{ID}order-service")


# ------------------------------------------------------------------------------- callers


def test_03_a_right_certificate_passes_so_the_refusals_below_are_about_the_certificate(lab: Lab, forge: Forge) -> None:
    before = lab.accepted("payment-1")
    assert dial(lab, pem_of(forge.shown(forge.leaf())))["statuses"] == [200]
    assert lab.accepted("payment-1") == before + 1
    of_pulse = pem_of(forge.shown(forge.leaf(uris=[f"{ID}pulse-service"])))
    seen = dial(lab, of_pulse)
    assert seen["statuses"] == [403]
    assert "intentions/payment-service" in seen["bodies"][0]
    assert lab.accepted("payment-1") == before + 1


def requests_from_outside(lab: Lab) -> int:
    """Count what payment-1 has logged of the host outside the mesh."""
    return len(lab.access_log("payment-1", downstream_remote_address=f"{lab.driver.address_of('stranger-1')}:"))


def foreign(forge: Forge) -> Shown:
    """A workload of another mesh, with everything in order there."""
    root = make_root("other.example", now=forge.now, ttl=timedelta(days=1))
    east = make_intermediate(root, "east", now=forge.now, ttl=timedelta(days=1))
    there = Forge("other.example", signer(root), signer(east), forge.now, "spiffe://other.example/ns/x/sa/order")
    return there.shown(there.leaf())


def hostile(name: str) -> Callable[[Forge], Shown]:
    return HOSTILE[name].make


# docs/reference/sidecar-parity.md: what Envoy's validator does not ask for. The authority signs no such certificate.
ENVOY_LETS_IN = {
    "2 URI SANs, an X.509-SVID has exactly one": [200],
    "extended key usage": [200],
    "has more than a-z": [403],  # and nobody's intentions know that name
}


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        pytest.param(None, "PEER_DID_NOT_RETURN_A_CERTIFICATE", id="no certificate"),
        pytest.param(hostile("self-signed"), "self-signed, and not a root", id="self-signed"),
        pytest.param(
            hostile("rogue CA with equal names"), "a forged authority", id="signed by a CA that has only our CA's name"
        ),
        pytest.param(hostile("root sent by the peer"), "its root is not one that we know", id="brings its own root"),
        pytest.param(foreign, "another trust domain", id="another trust domain's"),
        pytest.param(
            hostile("foreign trust domain signed by our CA"),
            "is of another trust domain than dominos.internal",
            id="our CA, another trust domain's name",
        ),
        pytest.param(hostile("expired a second ago"), "expired", id="expired a second ago"),
        pytest.param(hostile("not valid for another 60 s"), "not yet valid", id="not valid yet"),
        pytest.param(hostile("two URI SANs"), "2 URI SANs, an X.509-SVID has exactly one", id="two URI SANs"),
        pytest.param(hostile("no SAN at all"), "0 URI SANs, an X.509-SVID has exactly one", id="no URI SAN"),
        pytest.param(hostile("leaf is a CA"), "leaf: cA is true", id="the leaf is a CA"),
        pytest.param(hostile("leaf with keyCertSign"), "has keyCertSign or cRLSign", id="the leaf may sign"),
        pytest.param(
            hostile("leaf as issuer"), "an issuer in its chain is not a CA", id="issued by another workload's leaf"
        ),
        pytest.param(hostile("intermediate missing"), "an intermediate is missing", id="the intermediate is missing"),
        pytest.param(hostile("only serverAuth"), "extended key usage", id="for servers only"),
        pytest.param(hostile("wildcard"), "has more than a-z", id="a wildcard for a name"),
        pytest.param(hostile("only the trust domain"), "is a trust domain", id="names no workload"),
        pytest.param(
            hostile("unknown critical extension in the leaf"),
            "critical extension",
            id="a critical extension nobody knows",
        ),
    ],
)
def test_04_whoever_proves_it_wrongly_is_refused_by_name(
    lab: Lab, forge: Forge, make: Callable[[Forge], Shown] | None, fault: str
) -> None:
    before, passed = lab.accepted("payment-1"), requests_from_outside(lab)
    refused = handshakes_refused(lab)
    seen = dial(lab, pem_of(make(forge)) if make else "")
    if lab.has_envoy("payment-1") and fault in ENVOY_LETS_IN:
        assert seen["statuses"] == ENVOY_LETS_IN[fault]
        return
    assert seen["statuses"] == []
    assert seen["error"], "the connection ends without a byte of an answer"
    require_refusal(lab, seen, fault, refused)
    assert lab.accepted("payment-1") == before, "the application saw nothing"
    assert requests_from_outside(lab) == passed, "and nothing became a request that an open connection could carry"


def test_05_tls_below_1_3_is_refused_even_with_a_right_certificate(lab: Lab, forge: Forge) -> None:
    refused = handshakes_refused(lab)
    seen = dial(lab, pem_of(forge.shown(forge.leaf())), version="1.2")
    assert (seen["version"], seen["statuses"]) == ("", [])
    require_refusal(lab, seen, "UNSUPPORTED_PROTOCOL", refused)


def test_06_after_the_end_of_a_certificate_neither_an_open_connection_nor_its_session_is_worth_anything(
    lab: Lab, forge: Forge
) -> None:
    forge.now = datetime.now(UTC)
    ends = timedelta(seconds=stretched(8))
    certificate, key = forge.leaf(ends=ends)
    until = certificate.not_valid_after_utc.timestamp() + 0.1
    refused = handshakes_refused(lab)
    seen = dial(lab, pem_of(forge.shown((certificate, key))), paths=["/charges"] * 3, session_until=until)
    if lab.has_envoy("payment-1"):
        assert seen["statuses"] == [200, 200, 200], "docs/reference/sidecar-parity.md: Envoy asks for a proof once"
    else:
        assert seen["statuses"] == [200, 200, 403], "before its end it is welcome, on the same connection not after it"
        assert "has expired" in seen["bodies"][2]
    assert not seen["has_ticket"], "no session ticket was given"
    second = seen["second"]
    assert second["statuses"] == []
    assert not second.get("is_resumed")
    require_refusal(lab, second, "expired", refused)
    assert time.time() >= until


# ------------------------------------------------------------------------------- servers


@contextlib.contextmanager
def rogue(lab: Lab, pem: str) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
    """Run a server in the place of payment-1's sidecar; what is given returns what it saw of so many connections."""
    script = (HERE / "rogue.py").read_text()
    with lab.background("payment-1", "python", "-c", script, str(ports.INBOUND), user="sidecar") as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(pem)
        server.stdin.close()
        server.stdin = None
        lines = server.stdout
        assert "listening" in lines.readline()
        yield lambda connections: [json.loads(lines.readline()) for _ in range(connections)]


@pytest.fixture
def no_sidecar(lab: Lab) -> Iterator[None]:
    lab.driver.unit("payment-1", "sidecar", "stop")
    yield
    lab.driver.unit("payment-1", "sidecar", "start")
    eventually(
        lambda: lab.http("order-1", "GET", "http://payment-service:8080/charges").status == 200,
        what="the true payment-1 to serve again",
    )


@pytest.mark.usefixtures("no_sidecar")
def test_07_a_server_that_is_somebody_else_is_refused_before_a_byte_of_the_request(lab: Lab, forge: Forge) -> None:
    nobody = "another trust domain, a forged authority"
    cases = {
        "another-workload": (forge.leaf(uris=[f"{ID}ledger-service"]), f"ledger-service, expected {ID}payment-service"),
        "expired": (forge.leaf(uris=[f"{ID}payment-service"], ends=timedelta(seconds=-1)), "certificate has expired"),
    }
    rogues = {name: (pem_of(forge.shown(made)), fault) for name, (made, fault) in cases.items()}
    rogues["self-signed"] = pem_of(HOSTILE["self-signed"].make(forge)), "self-signed, and not a root"
    rogues["another-trust-domain"] = pem_of(foreign(forge)), nobody
    rogues["plain-http"] = "", "TLS handshake: WRONG_VERSION_NUMBER"
    for name, (pem, fault) in rogues.items():
        with rogue(lab, pem) as saw:
            answer = lab.http("order-1", "GET", f"http://payment-service:8080/charges?{name}")
            record = logged(lab, name)
            seen = saw(record["attempt_count"])
        assert (answer.status, record["upstream_peer"]) == (503, None), name
        assert "UF" in record["response_flags"].split(","), name
        assert fault in answer.body or lab.has_envoy("order-1"), name  # Envoy does not tell the caller why
        heard = [bytes.fromhex(one["heard"]) for one in seen]
        assert not [data for data in heard if data and data[:2] != b"\x16\x03"], "at most a client's hello"
        if lab.has_envoy("order-1"):
            assert not [one for one in seen if one["chain"]], "Envoy looks at the name before it says its own"
        elif name == "another-workload":  # its authority is ours, so the caller has shown it who it is, too
            identity, certificates = verified(lab, seen[0]["chain"])
            assert identity == f"{ID}order-service"
            require_chain(lab, certificates, "east")


def logged(lab: Lab, path: str) -> dict[str, Any]:
    records = eventually(lambda: lab.access_log("order-1", path=path), what=f"order-1 to log {path}")
    return dict(records[-1])
