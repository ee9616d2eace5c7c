"""Signing keys: made once, and a loss is a refusal, never a new root."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mesh.base.errors import ConfigError
from mesh.controlplane.authorities import Opened, fingerprint, open_authorities, renew_due
from mesh.controlplane.settings import ControlPlaneSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


def settings_in(folder: Path, **more: object) -> ControlPlaneSettings:
    values = {"datacenter": "east", "datacenters": ["east", "west"], "address": "10.0.0.1", "data_dir": folder, **more}
    return ControlPlaneSettings.model_validate(values)


def known_after(opened: Opened) -> dict[str, str]:
    return {record.key: str(record.value) for record in opened.records}


def test_the_first_start_makes_a_root_and_an_intermediate_per_datacenter(tmp_path: Path) -> None:
    opened = open_authorities(settings_in(tmp_path), {}, now=NOW)
    assert set(opened.generations[1].intermediates) == {"east", "west"}
    assert set(known_after(opened)) == {"root", "east", "west"}
    assert (tmp_path / "ca" / "root.pem").stat().st_mode & 0o777 == 0o600


def test_the_second_start_finds_them_again(tmp_path: Path) -> None:
    first = open_authorities(settings_in(tmp_path), {}, now=NOW)
    second = open_authorities(settings_in(tmp_path), known_after(first), now=LATER)
    assert second.records == ()
    assert fingerprint(second.generations[1].root) == fingerprint(first.generations[1].root)


def test_a_first_start_cut_short_goes_on_with_what_it_made(tmp_path: Path) -> None:
    first = open_authorities(settings_in(tmp_path), {}, now=NOW)
    again = open_authorities(settings_in(tmp_path), {}, now=LATER)
    assert known_after(again) == known_after(first)


def _swap(folder: Path) -> None:
    east, west = folder / "east.pem", folder / "west.pem"
    kept = east.read_bytes()
    east.write_bytes(west.read_bytes())
    west.write_bytes(kept)


def _foreign_root(folder: Path) -> None:
    other = folder / "elsewhere"
    open_authorities(settings_in(other), {}, now=NOW)
    (folder / "root.pem").write_bytes((other / "ca" / "root.pem").read_bytes())


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        pytest.param(lambda folder: (folder / "root.pem").unlink(), "missing", id="the root is gone"),
        pytest.param(lambda folder: (folder / "west.pem").unlink(), "missing", id="an intermediate is gone"),
        pytest.param(lambda folder: (folder / "root.pem").chmod(0o644), "mode is 0644", id="others may read the key"),
        pytest.param(_swap, "remembers", id="two files were swapped"),
        pytest.param(_foreign_root, "remembers", id="the root is another one"),
        pytest.param(lambda folder: (folder / "root.pem").write_bytes(b"x"), "malformed", id="the file is rubbish"),
    ],
)
def test_harm_is_refused_with_the_file_named(tmp_path: Path, harm: Callable[[Path], None], words: str) -> None:
    first = open_authorities(settings_in(tmp_path), {}, now=NOW)
    harm(tmp_path / "ca")
    before = {path: path.read_bytes() for path in (tmp_path / "ca").glob("*.pem")}
    with pytest.raises(ConfigError, match=words) as refused:
        open_authorities(settings_in(tmp_path), known_after(first), now=LATER)
    assert ".pem" in str(refused.value.at)
    assert {path: path.read_bytes() for path in (tmp_path / "ca").glob("*.pem")} == before


def test_another_trust_domain_is_refused(tmp_path: Path) -> None:
    first = open_authorities(settings_in(tmp_path), {}, now=NOW)
    with pytest.raises(ConfigError, match="trust domain"):
        open_authorities(settings_in(tmp_path, trust_domain="other.internal"), known_after(first), now=LATER)


def test_an_intermediate_is_renewed_at_half_its_life(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    first = open_authorities(settings, {}, now=NOW)
    assert renew_due(settings, 1, first.generations[1], now=NOW + timedelta(days=100)) is first.generations[1]
    renewed = renew_due(settings, 1, first.generations[1], now=NOW + timedelta(days=200))
    assert renewed.root is first.generations[1].root
    assert fingerprint(renewed.intermediates["west"]) != fingerprint(first.generations[1].intermediates["west"])


def test_a_renewal_that_the_store_missed_is_believed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    first = open_authorities(settings, {}, now=NOW)
    renewed = renew_due(settings, 1, first.generations[1], now=NOW + timedelta(days=200))
    again = open_authorities(settings, known_after(first), now=NOW + timedelta(days=201))
    assert fingerprint(again.generations[1].intermediates["east"]) == fingerprint(renewed.intermediates["east"])
    assert set(known_after(again)) == {"east", "west"}
