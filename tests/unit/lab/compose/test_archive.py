"""A bundle is believed whole or not at all."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.compose import archive
from lab.compose.archive import BundleError

CONTENT = {"images.tar.gz": b"layers" * 1000, "wheels/checkout/a-1-py3-none-any.whl": b"wheel a"}
ABOUT = {"architecture": "amd64", "python": "3.11", "base": "debootstrap", "images": {"os": "meshyard/os:1"}}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    parts = {}
    for number, (name, content) in enumerate(CONTENT.items()):
        parts[name] = tmp_path / f"part{number}"
        parts[name].write_bytes(content)
    archive.write(tmp_path / "b.tar", ABOUT, parts)
    return tmp_path / "b.tar"


def _members(file: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(file) as opened:
        return [(entry, opened.extractfile(entry).read() if entry.isreg() else b"") for entry in opened]  # type: ignore[union-attr]


def _write(file: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(file, "w") as opened:
        for entry, content in members:
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))


def _changed(name: str, content: bytes) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        _write(file, [(entry, content if entry.name == name else old) for entry, old in _members(file)])

    return change


def _added(name: str, *, kind: bytes = tarfile.REGTYPE, described: bool = False) -> Callable[[Path], None]:
    def add(file: Path) -> None:
        members = _members(file)
        extra = tarfile.TarInfo(name)
        extra.type, extra.linkname = kind, "/etc/passwd" if kind != tarfile.REGTYPE else ""
        if described:
            manifest = json.loads(members[0][1])
            manifest["parts"][name] = {"sha256": "0" * 64, "bytes": 0}
            members[0] = (members[0][0], json.dumps(manifest).encode())
        _write(file, [*members, (extra, b"")])

    return add


def _manifest(**changes: object) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        _changed("manifest.json", json.dumps({**json.loads(_members(file)[0][1]), **changes}).encode())(file)

    return change


def _cut(keep: float) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])


def test_what_was_packed_comes_out(bundle: Path, tmp_path: Path) -> None:
    manifest = archive.unpack(bundle, tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in CONTENT} == CONTENT
    assert {key: manifest[key] for key in ABOUT} == ABOUT
    assert manifest["parts"]["images.tar.gz"]["bytes"] == len(CONTENT["images.tar.gz"])


def test_only_what_is_asked_for_is_put_anywhere(bundle: Path, tmp_path: Path) -> None:
    archive.unpack(bundle, tmp_path / "out", ("wheels/",))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["wheels"]


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        pytest.param(_cut(0.0), "no whole bundle|does not begin", id="an empty file"),
        pytest.param(_cut(0.1), "no whole bundle|cut short", id="cut off in a part"),
        pytest.param(_cut(0.7), "no whole bundle|cut short|not what the manifest says", id="cut off near the end"),
        pytest.param(lambda file: file.write_bytes(b"PK" * 9000), "no whole bundle", id="another kind of file"),
        pytest.param(
            _changed("images.tar.gz", b"layers" * 999 + b"Layers"), "images.tar.gz is not what", id="a changed image"
        ),
        pytest.param(
            _changed("wheels/checkout/a-1-py3-none-any.whl", b"other"),
            "a-1-py3-none-any.whl is not what",
            id="another wheel",
        ),
        pytest.param(_added("wheels/checkout/b-1-py3-none-any.whl"), "manifest says nothing", id="a stowaway"),
        pytest.param(_added("../evil.whl"), "manifest says nothing", id="a way out of the folder"),
        pytest.param(
            _added("../evil.whl", described=True), "part that no bundle has", id="a way out that is described"
        ),
        pytest.param(_added("wheels/../../x.whl", described=True), "part that no bundle has", id="a hidden way out"),
        pytest.param(
            _added("wheels/a/l.whl", kind=tarfile.SYMTYPE, described=True),
            "manifest says nothing",
            id="a link instead of a file",
        ),
        pytest.param(_manifest(format=2), "has format 2, this checkout reads 1", id="a later format"),
        pytest.param(_manifest(parts=None), "cannot be read", id="a manifest without parts"),
        pytest.param(_changed("manifest.json", b"{"), "cannot be read", id="a manifest that is no JSON"),
        pytest.param(
            lambda file: _write(file, _members(file)[1:]), "does not begin with a manifest.json", id="no manifest"
        ),
        pytest.param(
            lambda file: _write(file, _members(file)[:-1]), "cut short, wheels/checkout/a-1", id="a part less"
        ),
        pytest.param(lambda file: file.unlink(), "there is no file.*make bundle", id="no file"),
    ],
)
def test_a_harmed_bundle_is_refused_and_nothing_of_it_is_kept(
    bundle: Path, tmp_path: Path, harm: Callable[[Path], None], says: str
) -> None:
    harm(bundle)
    with pytest.raises(BundleError, match=says):
        archive.unpack(bundle, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*")) or not (tmp_path / "out").exists()
    assert not (tmp_path / "evil.whl").exists()


def test_every_single_cut_is_refused(bundle: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    end = max(entry.offset_data + entry.size for entry, _ in _members(bundle))
    for size in range(0, end, 97):
        bundle.write_bytes(whole[:size])
        with pytest.raises(BundleError):
            archive.unpack(bundle, tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["/etc/x.whl", "wheels/x.whl", "wheels/a/b/c.whl", "wheels/../c.whl", "other", "wheels/a/x.sh"]
)
def test_no_other_name_is_packed(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match=re.escape(name)):
        archive.write(tmp_path / "b.tar", {}, {name: tmp_path / "x"})
    assert not list(tmp_path.iterdir())


def test_it_appears_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "part").write_bytes(b"layers")
    add = archive._add

    def fill_the_disk(to: tarfile.TarFile, name: str, content: io.BytesIO) -> None:
        if name == archive.IMAGES:
            raise OSError("no space left on device")
        add(to, name, content)

    monkeypatch.setattr(archive, "_add", fill_the_disk)
    with pytest.raises(OSError, match="no space"):
        archive.write(tmp_path / "b.tar", {}, {"images.tar.gz": tmp_path / "part"})
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_it_runs_without_this_project(bundle: Path, tmp_path: Path) -> None:
    """lab/bootstrap.sh runs it before there is a virtual environment."""
    imported = re.findall(r"^(?:from|import) ([\w.]+)", Path(archive.__file__).read_text(), re.MULTILINE)
    assert not [name for name in imported if name.split(".")[0] in ("lab", "mesh", "click", "docker", "packaging")]


@pytest.mark.parametrize(
    ("python", "ends"),
    [
        pytest.param(None, None, id="packages for this Python"),
        pytest.param("3.9", "say PYTHON=python3.9", id="packages for another Python"),
    ],
)
def test_main_unpacks_for_the_python_that_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str | None, ends: str | None
) -> None:
    here = f"{archive.sys.version_info.major}.{archive.sys.version_info.minor}"
    archive.write(tmp_path / "b.tar", {"python": python or here}, {})
    monkeypatch.setattr(archive.sys, "argv", ["archive.py", str(tmp_path / "b.tar"), str(tmp_path / "out")])
    if ends:
        with pytest.raises(SystemExit, match=ends):
            archive.main()
    else:
        archive.main()
