"""Promise 3, from the application's side: the PyPI client `spiffe` gets the SVID of its host, and each new one."""

from __future__ import annotations

import json

from tests.e2e.kit import FOREIGN_SPIFFE_CLIENT, Lab
from tests.e2e.pace import stretched

LAB_SETTINGS = {"leaf_ttl": "8s"}
LAB_HOSTS = ("cp-1", "order-1", "inventory-1")
ROTATED = 3  # a first certificate and two more
FOLLOW_AT_MOST_S = 15.0  # less than two lives of a certificate: who renewed it after its end would come too late

# As its documentation shows it; the socket is found by the variable that every SPIFFE client knows.
FOLLOW = """
import json, os, sys, threading
os.environ["SPIFFE_ENDPOINT_SOCKET"] = "unix:///run/mesh/agent.sock"
from spiffe import WorkloadApiClient

saying, seen, enough = threading.Lock(), set(), threading.Event()

def show(context):
    svid = context.default_svid
    bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    svid.leaf.verify_directly_issued_by(svid.cert_chain[1])
    [root] = bundle.x509_authorities
    svid.cert_chain[1].verify_directly_issued_by(root)
    with saying:
        print(json.dumps({"id": str(svid.spiffe_id), "serial": svid.leaf.serial_number,
                          "issuer": svid.leaf.issuer.rfc4514_string(),
                          "fits": svid.private_key.public_key() == svid.leaf.public_key()}), flush=True)
    seen.add(svid.leaf.serial_number)
    if len(seen) >= int(sys.argv[1]):
        enough.set()

with WorkloadApiClient() as client:
    following = client.stream_x509_contexts(show, lambda error: print(json.dumps({"error": str(error)}), flush=True))
    enough.wait(float(sys.argv[2]))
    following.cancel()
saying.acquire()  # its thread may be about to say something, and Python does not end while it does
os._exit(0)
"""
OPEN = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/mesh/agent.sock')"


def test_01_an_unmodified_spiffe_client_gets_its_svid_and_sees_it_rotate(lab: Lab) -> None:
    for host, datacenter, certificates in (("inventory-1", "west", 1), ("order-1", "east", ROTATED)):
        argv = (str(certificates), str(stretched(FOLLOW_AT_MOST_S)))
        done = lab.foreign_python(host, FOLLOW, *argv, packages=FOREIGN_SPIFFE_CLIENT)
        assert done.exit_code == 0, done.stderr
        seen = [json.loads(line) for line in done.stdout.splitlines()]
        assert not [one for one in seen if "error" in one]
        service = f"spiffe://dominos.internal/ns/production/sa/{host.removesuffix('-1')}-service"
        assert {one["id"] for one in seen} == {service}
        assert all(one["fits"] and f"intermediate {datacenter}" in one["issuer"] for one in seen)
        assert len({one["serial"] for one in seen}) >= certificates, "a first one and its rotations"


def test_02_another_users_process_may_not_even_open_the_socket(lab: Lab) -> None:
    assert lab.python("order-1", OPEN, user="app").exit_code == 0
    refused = lab.python("order-1", OPEN, user="other")
    assert refused.exit_code != 0
    assert "PermissionError" in refused.stderr
