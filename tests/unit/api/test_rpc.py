"""The message table: what is written can be read, and the paths are the documented ones."""

from __future__ import annotations

import pytest

from mesh.api import rpc


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param(rpc.JOIN, "/meshyard.v1.Join/Join", id="join"),
        pytest.param(rpc.SIGN, "/meshyard.v1.CertificateAuthority/Sign", id="renewal"),
        pytest.param(rpc.WATCH_ROOTS, "/meshyard.v1.CertificateAuthority/WatchRoots", id="trust bundle"),
        pytest.param(rpc.REGISTER, "/meshyard.v1.Registry/Register", id="registration"),
        pytest.param(rpc.REPORT, "/meshyard.v1.Registry/Report", id="check reports"),
        pytest.param(rpc.DEREGISTER, "/meshyard.v1.Registry/Deregister", id="leaving"),
        pytest.param(rpc.WATCH_NAMES, "/meshyard.v1.Registry/WatchNames", id="names for DNS"),
    ],
)
def test_paths(method: rpc.Method, path: str) -> None:
    assert method.path == path


def test_a_registration_survives_the_wire() -> None:
    sent = rpc.RegisterRequest(
        service=rpc.ServiceMessage(
            name="payment-service",
            port=8080,
            tags=["v1"],
            meta={"team": "money"},
            checks=[rpc.CheckMessage(id="alive", name="alive", kind="http")],
        )
    )
    read = rpc.RegisterRequest.FromString(sent.SerializeToString())
    assert read == sent
    assert dict(read.service.meta) == {"team": "money"}


class Channel:
    """Notes which kind of call was asked for."""

    def __getattr__(self, kind: str) -> object:
        return lambda path, **_: (kind, path)


def test_a_method_knows_which_side_streams() -> None:
    assert rpc.REPORT.on(Channel()) == ("stream_stream", rpc.REPORT.path)
    assert rpc.JOIN.on(Channel()) == ("unary_unary", rpc.JOIN.path)
    assert rpc.WATCH_NAMES.on(Channel()) == ("unary_stream", rpc.WATCH_NAMES.path)
