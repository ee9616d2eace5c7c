"""Reads certificate and key of a workload from its agent's socket, as its application may. Run on a host; JSON out."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import WorkloadApiClient

with WorkloadApiClient("unix:///run/mesh/agent.sock") as client:
    svid = client.fetch_x509_svid()
chain = "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in svid.cert_chain)
key = svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
print(json.dumps({"chain": chain, "key": key, "id": str(svid.spiffe_id)}))
