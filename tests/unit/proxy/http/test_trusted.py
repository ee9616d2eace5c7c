"""Names only the mesh may write."""

from __future__ import annotations

import pytest

from mesh.proxy.http.trusted import is_trusted_name, trusted_names_in


@pytest.mark.parametrize(
    ("name", "is_trusted"),
    [
        ("x-forwarded-client-cert", True),
        ("x_forwarded_client_cert", True),
        ("x-forwarded_client-cert", True),
        ("x-envoy-retry-on", True),
        ("x_envoy_original_path", True),
        ("x-mesh-undelivered", True),
        ("x-mesh_decision", True),
        ("x-request-id", False),
        ("x-forwarded-for", False),
        ("x-meshed", False),
        ("not-x-mesh-a", False),
        ("traceparent", False),
    ],
)
def test_names(name: str, is_trusted: bool) -> None:
    assert is_trusted_name(name) is is_trusted
    assert trusted_names_in(["host", name]) == ({name} if is_trusted else set())
