"""What is kept reads back as it was."""

from __future__ import annotations

from datetime import UTC, datetime

from mesh.ca.tokens import JoinToken
from mesh.config.load import load_text
from mesh.controlplane import records as r
from mesh.registry.catalog import Check, Instance
from mesh.registry.health import CheckStatus

WHEN = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)


def test_an_entry_keeps_its_place_in_the_file() -> None:
    text = 'Kind = "service-intentions"\nName = "a"\nSources = [{ Name = "b" Action = "allow" }]\n'
    stored = r.StoredEntry(load_text(text, "i.hcl").entries[0], 7)
    record = r.entry_record(stored)
    assert record.key == "service-intentions/a"
    assert r.entry_from(record.value or "") == stored


def test_an_instance_keeps_its_checks() -> None:
    checks = (Check("alive", "alive", "http", CheckStatus.WARNING, "slow"),)
    instance = Instance("a-1/a", "a", "a-1", "east", "10.0.0.1", 80, ("t",), {"k": "v"}, checks)
    assert r.instance_from(r.instance_record(instance).value or "") == instance


def test_certificates_and_tokens() -> None:
    issued = r.IssuedCertificate(2**120, "a", "a-1", "east", WHEN)
    assert r.issued_from(r.issued_record(issued).value or "") == issued
    for used_at in (None, WHEN):
        kept = r.TokenRecord(JoinToken("digest", "a", "a-1", WHEN, used_at), "west", "10.77.2.9")
        assert r.token_from(r.token_record(kept).value or "") == kept
