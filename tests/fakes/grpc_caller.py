"""A program that calls by name through gRPC's own xDS client: `python -m tests.fakes.grpc_caller TARGET`.

It knows of the mesh what its bootstrap says (GRPC_XDS_BOOTSTRAP), and nothing of our code. For each line on its input
it makes one call and prints the answer, or the code and the words of the failure, as one line.
"""

from __future__ import annotations

import sys

import grpc

METHOD = "/meshyard.test.Echo/WhoAreYou"
DEADLINE_S = 30.0


def main(target: str) -> None:
    """Call once for each line."""
    credentials = grpc.xds_channel_credentials(grpc.ssl_channel_credentials())
    with grpc.secure_channel(target, credentials) as channel:
        ask = channel.unary_unary(METHOD)
        for _ in sys.stdin:
            try:
                print(ask(b"", timeout=DEADLINE_S).decode(), flush=True)
            except grpc.RpcError as error:
                print(f"{error.code().name}: {error.details()}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
