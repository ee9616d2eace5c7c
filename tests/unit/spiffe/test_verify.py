"""Every certificate shape gets its verdict, and the refusal names the fault."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509 import verification
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.base.errors import IdentityError
from mesh.spiffe.verify import PeerVerifier, verify_peer
from tests.fakes.certificates import ACCEPTED, HOSTILE, Shape
from tests.fakes.forge import ORDER, Forge, Shown

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def forge() -> Forge:
    return Forge.fresh(NOW)


@pytest.fixture(scope="module")
def good(forge: Forge) -> Shown:
    return forge.shown(forge.leaf(subject="order", names=[x509.DNSName("order")]))


# The library warns of such a serial number, and leaves the refusal to us.
@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
@pytest.mark.parametrize("shape", [pytest.param(shape, id=name) for name, shape in HOSTILE.items()])
def test_refused_by_name(shape: Shape, forge: Forge) -> None:
    shown = shape.make(forge)
    with pytest.raises(IdentityError) as refusal:
        verify_peer(shown.chain_der, shown.bundle, now=NOW)
    assert shape.fault in str(refusal.value)


@pytest.mark.parametrize("shape", [pytest.param(shape, id=name) for name, shape in ACCEPTED.items()])
def test_accepted(shape: Shape, forge: Forge) -> None:
    shown = shape.make(forge)
    peer = verify_peer(shown.chain_der, shown.bundle, now=NOW, expected=frozenset({ORDER}))
    assert str(peer.spiffe_id) == ORDER
    assert peer.serial == x509.load_der_x509_certificate(shown.chain_der[0]).serial_number
    assert NOW <= peer.not_after <= NOW + timedelta(hours=1)


def test_there_are_more_than_sixty_shapes() -> None:
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize(
    "expected",
    [
        pytest.param(set(), id="nobody is expected"),
        pytest.param({ORDER + "2"}, id="a longer name"),
        pytest.param({ORDER[:-1]}, id="a prefix"),
        pytest.param({ORDER.replace("order", "Order")}, id="another case"),
        pytest.param({"spiffe://dominos.internal/*"}, id="a pattern is no identity"),
        pytest.param({ORDER.replace("production", "staging")}, id="another namespace"),
    ],
)
def test_the_wrong_peer_is_refused_although_its_certificate_is_right(expected: set[str], forge: Forge) -> None:
    shown = forge.shown(forge.leaf())
    with pytest.raises(IdentityError, match=r"leaf: proves .*order-service, expected "):
        verify_peer(shown.chain_der, shown.bundle, now=NOW, expected=frozenset(expected))


def test_a_peer_seen_before_is_refused_once_it_expired(forge: Forge) -> None:
    shown = forge.shown(forge.leaf(ends=timedelta(seconds=5)))
    verifier = PeerVerifier(shown.bundle)
    verifier.verify(shown.chain_der, now=NOW)
    assert verifier.verify(shown.chain_der, now=NOW + timedelta(seconds=5, microseconds=999999))
    with pytest.raises(IdentityError, match="leaf: expired"):
        verifier.verify(shown.chain_der, now=NOW + timedelta(seconds=6))


def test_a_known_intermediate_is_refused_once_it_expired(forge: Forge) -> None:
    middle = forge.authority(ends=timedelta(seconds=5))
    first, second = (forge.shown(forge.leaf(by=middle), middle) for _ in range(2))
    verifier = PeerVerifier(forge.bundle)
    verifier.verify(first.chain_der, now=NOW)
    for shown in (first, second):
        with pytest.raises(IdentityError, match="intermediate 1: expired"):
            verifier.verify(shown.chain_der, now=NOW + timedelta(seconds=6))


def test_a_known_intermediate_does_not_vouch_for_what_it_did_not_sign(forge: Forge) -> None:
    verifier = PeerVerifier(forge.bundle)
    verifier.verify(forge.shown(forge.leaf()).chain_der, now=NOW)
    stranger = forge.leaf(by=forge.authority(subject=forge.intermediate.certificate.subject))
    with pytest.raises(IdentityError, match="signature does not hold"):
        verifier.verify(forge.shown(stranger).chain_der, now=NOW)


def test_a_peer_seen_before_still_has_to_be_the_expected_one(forge: Forge) -> None:
    shown = forge.shown(forge.leaf())
    verifier = PeerVerifier(shown.bundle)
    verifier.verify(shown.chain_der, now=NOW)
    with pytest.raises(IdentityError, match="expected"):
        verifier.verify(shown.chain_der, now=NOW, expected=frozenset({ORDER + "2"}))


@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
def test_refused_chains_are_not_remembered(forge: Forge) -> None:
    verifier = PeerVerifier(forge.bundle)
    for shape in HOSTILE.values():
        shown = shape.make(forge)
        if shown.bundle == forge.bundle:
            with pytest.raises(IdentityError):
                verifier.verify(shown.chain_der, now=NOW)
    # What may stay are chains and paths that are right but for their dates.
    assert all(path.issuers[-1].certificate == forge.root.certificate for path in verifier._paths.values())
    for chain in verifier._chains.values():
        assert chain.leaf.not_before <= NOW <= chain.leaf.not_after


def test_the_end_of_the_chain_counts_when_it_comes_first(forge: Forge) -> None:
    middle = forge.authority(ends=timedelta(minutes=5))
    shown = forge.shown(forge.leaf(by=middle), middle)
    assert verify_peer(shown.chain_der, shown.bundle, now=NOW).not_after == NOW + timedelta(minutes=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 1), at=st.integers(0, 2000), octet=st.integers(0, 255), data=st.data())
def test_altered_bytes_are_refused_and_never_a_crash(
    where: int, at: int, octet: int, data: st.DataObject, good: Shown
) -> None:
    chain = list(good.chain_der)
    changed = bytearray(chain[where])
    changed[at % len(changed)] = octet
    chain[where] = data.draw(st.sampled_from([bytes(changed), bytes(changed[: at % len(changed)])]))
    if tuple(chain) == good.chain_der:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of odd serial numbers and names before we refuse them
        with pytest.raises(IdentityError):
            verify_peer(chain, good.bundle, now=NOW)


def library_verdict(shown: Shown) -> None:
    """Verify with `cryptography.x509.verification`, with the web's rules for leaves switched off."""
    store = verification.Store(list(shown.bundle.roots))
    anybody = verification.ExtensionPolicy.permit_all()
    any_ca = anybody.require_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, None)
    leaf = anybody.require_present(x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None)
    builder = verification.PolicyBuilder().store(store).time(NOW).extension_policies(ca_policy=any_ca, ee_policy=leaf)
    chain = [x509.load_der_x509_certificate(der) for der in shown.chain_der]
    builder.build_client_verifier().verify(chain[0], chain[1:])


# The library's list of algorithms is the web's, which has no Ed25519.
WEB_KNOWS = [name for name in ACCEPTED if name != "an Ed25519 key"]


@pytest.mark.parametrize("name", WEB_KNOWS)
def test_what_we_accept_the_library_accepts_too(name: str, forge: Forge) -> None:
    library_verdict(ACCEPTED[name].make(forge))
