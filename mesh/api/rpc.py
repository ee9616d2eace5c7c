"""gRPC between agent and control plane: package `meshyard.v1`, every message and method in two tables.

Three conversations (plus xDS, which has messages of its own):

- `Join` on the join port, server-authenticated TLS: a one-time token, or a rejoin secret, and a CSR become the first
  certificate of an agent's life;
- `CertificateAuthority` on the mutual TLS port: renewal, and the trust bundle as it changes;
- `Registry` on the same port: the instance beside the agent, its checks, and the names the agent's DNS answers.

Who calls is never a field of these messages: the control plane takes it from the caller's certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mesh.base.protobuf import build_messages

PACKAGE = "meshyard.v1"
MAX_CSR_BYTES = 16 * 1024
MAX_MESSAGE_BYTES = 1024 * 1024  # what a gRPC server of the mesh accepts from a peer

MESSAGES: dict[str, type[Any]] = build_messages(
    PACKAGE,
    {
        "Empty": [],
        "JoinRequest": [
            ("token", 1, "string", False),
            ("host", 2, "string", False),
            ("service", 3, "string", False),
            ("csr_der", 4, "bytes", False),
            ("datacenter", 5, "string", False),  # where the host says it is; a token may be bound to one
            ("rejoin_secret", 6, "string", False),  # in the place of a token, from a host that was here before
            ("next_rejoin_digest", 7, "string", False),  # SHA-256 in hex of the secret it will come back with
        ],
        "SignRequest": [
            ("csr_der", 1, "bytes", False),
            ("next_rejoin_digest", 2, "string", False),
        ],
        "Issued": [
            ("chain_der", 1, "bytes", True),  # leaf first, then the intermediate
            ("roots_der", 2, "bytes", True),
            ("spiffe_id", 3, "string", False),
        ],
        "RootsAck": [
            ("digest", 1, "string", False),  # of the roots that the agent holds; empty from one that knows no acks
            ("serial", 2, "string", False),  # of the certificate that it holds, in hex
            ("holders", 3, "uint32", False),  # how many that get their secrets from it hold both
            ("behind", 4, "uint32", False),  # how many do not yet
        ],
        "Roots": [
            ("roots_der", 1, "bytes", True),
            ("renew_within_s", 2, "double", False),  # above 0: renew at a moment of your own within this time
        ],
        "CheckMessage": [("id", 1, "string", False), ("name", 2, "string", False), ("kind", 3, "string", False)],
        "ServiceMessage": [
            ("name", 1, "string", False),
            ("id", 2, "string", False),
            ("port", 3, "uint32", False),
            ("tags", 4, "string", True),
            ("meta", 5, "map<string,string>", False),
            ("checks", 6, "CheckMessage", True),
        ],
        "RegisterRequest": [("service", 1, "ServiceMessage", False)],
        "Registered": [("virtual_ip", 1, "string", False), ("index", 2, "uint64", False)],
        "CheckReport": [
            ("instance_id", 1, "string", False),
            ("check_id", 2, "string", False),  # empty: a heartbeat
            ("status", 3, "string", False),  # passing, warning or critical
            ("output", 4, "string", False),  # at most 4 KiB
        ],
        "ReportAck": [("index", 1, "uint64", False)],
        "DeregisterRequest": [("instance_id", 1, "string", False)],
        "Name": [("service", 1, "string", False), ("virtual_ip", 2, "string", False)],
        "Names": [("index", 1, "uint64", False), ("names", 2, "Name", True)],
    },
)

Empty = MESSAGES["Empty"]
JoinRequest = MESSAGES["JoinRequest"]
SignRequest = MESSAGES["SignRequest"]
Issued = MESSAGES["Issued"]
RootsAck = MESSAGES["RootsAck"]
Roots = MESSAGES["Roots"]
CheckMessage = MESSAGES["CheckMessage"]
ServiceMessage = MESSAGES["ServiceMessage"]
RegisterRequest = MESSAGES["RegisterRequest"]
Registered = MESSAGES["Registered"]
CheckReport = MESSAGES["CheckReport"]
ReportAck = MESSAGES["ReportAck"]
DeregisterRequest = MESSAGES["DeregisterRequest"]
Name = MESSAGES["Name"]
Names = MESSAGES["Names"]


@dataclass(frozen=True, slots=True)
class Method:
    """One gRPC method: where it is, what goes in and out, which side streams."""

    service: str
    name: str
    request: type[Any]
    response: type[Any]
    client_streams: bool = False
    server_streams: bool = False

    @property
    def path(self) -> str:
        """The HTTP/2 path of the method: `/package.Service/Method`."""
        return f"/{self.service}/{self.name}"

    def on(self, channel: Any) -> Any:
        """Return the callable of this method on a grpc (or grpc.aio) channel."""
        kind = f"{_streams(self.client_streams)}_{_streams(self.server_streams)}"
        return getattr(channel, kind)(
            self.path, request_serializer=self.request.SerializeToString, response_deserializer=self.response.FromString
        )


def _streams(is_stream: bool) -> str:
    return "stream" if is_stream else "unary"


JOIN_SERVICE = f"{PACKAGE}.Join"
CA_SERVICE = f"{PACKAGE}.CertificateAuthority"
REGISTRY_SERVICE = f"{PACKAGE}.Registry"

JOIN = Method(JOIN_SERVICE, "Join", JoinRequest, Issued)
SIGN = Method(CA_SERVICE, "Sign", SignRequest, Issued)
# An agent of before there were acknowledgements sends one empty message, which reads as an ack of nothing.
WATCH_ROOTS = Method(CA_SERVICE, "WatchRoots", RootsAck, Roots, client_streams=True, server_streams=True)
REGISTER = Method(REGISTRY_SERVICE, "Register", RegisterRequest, Registered)
REPORT = Method(REGISTRY_SERVICE, "Report", CheckReport, ReportAck, client_streams=True, server_streams=True)
DEREGISTER = Method(REGISTRY_SERVICE, "Deregister", DeregisterRequest, Empty)
WATCH_NAMES = Method(REGISTRY_SERVICE, "WatchNames", Empty, Names, server_streams=True)
