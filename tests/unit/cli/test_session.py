"""Where the control plane is when nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.cli import session


@pytest.mark.parametrize(
    ("exists", "lab", "folder", "found"),
    [
        pytest.param(
            [], "default", "", "host.sock", id="nothing is there: this host's own socket, so that the error names it"
        ),
        pytest.param([".lab/default/mesh.sock"], "default", "", ".lab/default/mesh.sock", id="the lab of the checkout"),
        pytest.param(
            [".lab/default/mesh.sock"], "default", "docs/howto", ".lab/default/mesh.sock", id="also from a folder in it"
        ),
        pytest.param([".lab/default/mesh.sock"], "other", "", "host.sock", id="another lab is not the default one"),
        pytest.param([".lab/b/mesh.sock"], "b", "", ".lab/b/mesh.sock", id="LAB_NAME names the lab"),
        pytest.param(
            [".lab/default/mesh.sock", "host.sock"], "default", "", "host.sock", id="on its own host it is itself"
        ),
    ],
)
def test_default_address(
    exists: list[str], lab: str, folder: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SOCKET", tmp_path / "host.sock")
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name in exists:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert session.default_address(tmp_path / folder, lab) == f"unix://{tmp_path / found}"
