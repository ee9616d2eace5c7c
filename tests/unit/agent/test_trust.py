"""Roots as they come: taken, acknowledged for the whole host, kept on disk, and never turned back."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from mesh.agent import roots_file
from mesh.agent.holders import Holders
from mesh.agent.identity import Identity, with_roots_of
from mesh.agent.latest import Latest
from mesh.agent.renewal import RenewalSchedule
from mesh.agent.sds import secrets_of
from mesh.agent.settings import AgentSettings
from mesh.agent.trust import take_roots
from mesh.base.errors import IdentityError
from mesh.spiffe.bundle import TrustBundle
from mesh.xds.server.delta import DeltaStream
from mesh.xds.server.sotw import SotwStream
from mesh.xds.types import SECRET
from tests.fakes.identities import NOW, TRUST_DOMAIN, Issuer

BOTH_NAMES = ("default", "ROOTCA")


def together(*issuers: Issuer) -> TrustBundle:
    return TrustBundle.from_der(TRUST_DOMAIN, [issuer.root.certificate_der() for issuer in issuers])


# ------------------------------------------------------------------------------- taken


def test_new_roots_replace_the_roots_and_leave_the_certificate() -> None:
    old, new = Issuer.fresh(), Issuer.fresh()
    identity: Latest[Identity] = Latest()
    identity.set(old.identity())
    take_roots(identity, together(old, new).to_ders())
    assert len(identity.get().bundle.roots) == 2
    version = identity.version
    take_roots(identity, together(old, new).to_ders())
    assert identity.version == version, "the same roots wake nobody"
    with pytest.raises(IdentityError, match="sent none"):
        take_roots(identity, ())


@pytest.mark.parametrize(
    ("held", "answered", "expected"),
    [
        pytest.param((0,), (0,), (0,), id="nothing changed"),
        pytest.param((0, 1), (0,), (0, 1), id="an answer from before the new root was prepared"),
        pytest.param((0,), (0, 1), (0,), id="an answer from before the old root was retired"),
        pytest.param((1,), (0, 1), (0, 1), id="a root that nobody told us of, proven by the answer alone"),
    ],
)
def test_the_answer_to_a_renewal_does_not_turn_roots_back(
    held: tuple[int, ...], answered: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    roots = (Issuer.fresh(), Issuer.fresh())
    mine, fresh = roots[0].identity(), roots[0].identity()
    before = Identity(mine.svid, together(*(roots[n] for n in held)))
    answer = Identity(fresh.svid, together(*(roots[n] for n in answered)))
    after = with_roots_of(before, answer, now=NOW)
    assert after.svid is fresh.svid
    assert after.bundle == together(*(roots[n] for n in expected))


def test_the_order_of_roots_does_not_change_their_digest() -> None:
    a, b = Issuer.fresh(), Issuer.fresh()
    assert together(a, b).digest == together(b, a).digest
    assert together(a).digest != together(a, b).digest


# ------------------------------------------------------------------------------- acknowledged


def acked_by(holders: Holders) -> tuple[int, int]:
    word = holders.word.get()
    return word.holders, word.behind


@pytest.mark.parametrize("kind", [DeltaStream, SotwStream])
def test_a_host_speaks_of_its_sidecars_only_once_they_have_acknowledged(
    kind: Callable[..., DeltaStream | SotwStream],
) -> None:
    old, new = Issuer.fresh(), Issuer.fresh()
    mine = old.identity()
    holders = Holders()
    with pytest.raises(Exception, match="nobody has set"):
        holders.word.get()
    holders.expect(mine, secrets_of(mine))
    assert acked_by(holders) == (0, 0)
    stream = kind(secrets_of(mine), (SECRET,))
    with holders.holding(stream):
        nonce = ask(stream)
        holders.look()
        assert acked_by(holders) == (0, 1), "sent is not acknowledged"
        ask(stream, nonce)
        holders.look()
        assert acked_by(holders) == (1, 0)
        both = Identity(mine.svid, together(old, new))
        holders.expect(both, secrets_of(both))
        assert (holders.word.get().digest, acked_by(holders)) == (both.bundle.digest, (0, 1))
        [sent] = stream.update(secrets_of(both))
        ask(stream, nonce_of(stream, sent))
        holders.look()
        assert acked_by(holders) == (1, 0)
    assert acked_by(holders) == (0, 0)


def ask(stream: DeltaStream | SotwStream, nonce: str = "") -> str:
    """Ask for both secrets, or acknowledge a response; return the nonce of what came back."""
    if isinstance(stream, DeltaStream):
        names = () if nonce else BOTH_NAMES
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=SECRET, response_nonce=nonce, resource_names_subscribe=names
        )
        sent = stream.receive(request)
    else:
        version = "1" if nonce else ""
        sent = stream.receive(
            discovery_pb2.DiscoveryRequest(
                type_url=SECRET, response_nonce=nonce, resource_names=BOTH_NAMES, version_info=version
            )
        )
    return nonce_of(stream, sent[0]) if sent else ""


def nonce_of(stream: DeltaStream | SotwStream, sent: bytes) -> str:
    kind = discovery_pb2.DeltaDiscoveryResponse if isinstance(stream, DeltaStream) else discovery_pb2.DiscoveryResponse
    return str(kind.FromString(sent).nonce)


def test_a_word_is_said_anew_only_when_it_is_another() -> None:
    identity, holders = Issuer.fresh().identity(), Holders()
    holders.expect(identity, secrets_of(identity))
    version = holders.word.version
    holders.look()
    assert holders.word.version == version


# ------------------------------------------------------------------------------- kept


@pytest.mark.parametrize(
    ("given_at", "learned_at", "expected"),
    [
        pytest.param(100, None, "given", id="nothing was learned yet"),
        pytest.param(100, 200, "learned", id="what was learned since"),
        pytest.param(200, 100, "given", id="the operator has put others there"),
        pytest.param(None, 100, "learned", id="the operator's are gone"),
    ],
)
def test_a_join_believes_the_newer_roots(
    given_at: int | None, learned_at: int | None, expected: str, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path)
    for path, text, at in (
        (settings.roots_file, "given", given_at),
        (roots_file.path_of(settings), "learned", learned_at),
    ):
        if at is not None:
            path.write_text(text)
            os.utime(path, (at, at))
    assert roots_file.roots_for_join(settings) == expected.encode()


def test_roots_that_are_kept_already_do_not_look_new(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    roots_file.keep(settings, b"a")
    os.utime(roots_file.path_of(settings), (100, 100))
    roots_file.keep(settings, b"a")
    assert roots_file.path_of(settings).stat().st_mtime == 100
    roots_file.keep(settings, b"b")
    assert roots_file.path_of(settings).read_bytes() == b"b"


def settings_in(folder: Path) -> AgentSettings:
    return AgentSettings.model_validate(
        {
            "host": "payment-1",
            "address": "10.77.1.12",
            "datacenter": "east",
            "control_plane": {"address": "10.77.1.2"},
            "roots_file": folder / "given.pem",
            "state_dir": folder,
        }
    )


# ------------------------------------------------------------------------------- asked to renew


def test_a_host_that_is_asked_to_renew_does_so_at_a_moment_of_its_own() -> None:
    moments = set()
    for seed in range(50):
        schedule = RenewalSchedule(Random(seed), now=NOW)
        schedule.issued(NOW + timedelta(hours=24), now=NOW)
        schedule.hurry(10.0, now=NOW)
        assert NOW <= schedule.next_at <= NOW + timedelta(seconds=10)
        moments.add(schedule.next_at)
    assert len(moments) == 50


def test_being_asked_never_makes_it_later() -> None:
    schedule = RenewalSchedule(Random(1), now=NOW)
    schedule.hurry(10.0, now=NOW)
    assert schedule.next_at == NOW, "without a certificate it asks at once"
    schedule.issued(NOW + timedelta(seconds=2), now=NOW)
    due = schedule.next_at
    schedule.hurry(1000.0, now=NOW)
    assert schedule.next_at <= due
