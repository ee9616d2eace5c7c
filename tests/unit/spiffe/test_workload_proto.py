"""Our Workload API messages have the field numbers of a foreign implementation."""

from __future__ import annotations

from typing import Any

import pytest
from spiffe._proto import workload_pb2

from mesh.spiffe.workload_proto import MESSAGES, SERVICE, X509SVID, X509SVIDResponse, method_path


def fields(message: Any) -> dict[str, tuple[int, int, bool]]:
    return {each.name: (each.number, each.type, each.is_repeated) for each in message.DESCRIPTOR.fields}


@pytest.mark.parametrize("name", MESSAGES)
def test_same_fields_as_the_foreign_client(name: str) -> None:
    assert fields(MESSAGES[name]) == fields(getattr(workload_pb2, name))


def test_the_foreign_client_reads_what_we_write() -> None:
    ours = X509SVIDResponse(
        svids=[X509SVID(spiffe_id="spiffe://a/b", x509_svid=b"c", x509_svid_key=b"k", bundle=b"r", hint="h")],
        crl=[b"x"],
        federated_bundles={"spiffe://other": b"o"},
    )
    theirs = workload_pb2.X509SVIDResponse.FromString(ours.SerializeToString())
    assert theirs.svids[0].x509_svid_key == b"k"
    assert dict(theirs.federated_bundles) == {"spiffe://other": b"o"}
    assert X509SVIDResponse.FromString(theirs.SerializeToString()) == ours


def test_the_service_has_no_package() -> None:
    assert workload_pb2.DESCRIPTOR.services_by_name[SERVICE].full_name == SERVICE
    assert method_path("FetchX509SVID") == "/SpiffeWorkloadAPI/FetchX509SVID"
