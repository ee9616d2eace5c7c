"""Which Python packages an image needs, and which of them are kept already."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from lab import wheels
from lab.compose import recipes
from lab.driver import LabError, checkout
from lab.wheels import Pin, Target

BOOKWORM = Target("3.11.2", "x86_64", "2.36")
ONE = Pin("one", "1.0", frozenset({"a" * 64, "b" * 64}))
TWO = Pin("two", "2.0", frozenset({"c" * 64}))


@pytest.mark.parametrize(
    ("target", "tags", "not_tags"),
    [
        pytest.param(
            BOOKWORM,
            {"manylinux_2_36_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"},
            {"manylinux_2_37_x86_64"},
            id="up to the image's own C library, not beyond",
        ),
        pytest.param(
            Target("3.13.1", "aarch64", "2.41"),
            {"manylinux_2_41_aarch64"},
            {"manylinux_2_41_x86_64"},
            id="its own machine",
        ),
    ],
)
def test_platforms(target: Target, tags: set[str], not_tags: set[str]) -> None:
    found = wheels.platforms(target)
    assert tags <= set(found)
    assert not not_tags & set(found)


def test_pip_is_asked_for_the_python_of_the_host() -> None:
    options = Target("3.12.4", "aarch64", "2.34").pip_options
    assert options[options.index("--python-version") + 1] == "3.12"
    tags = [options[at + 1] for at, option in enumerate(options) if option == "--platform"]
    assert tags[0] == "manylinux_2_34_aarch64", "the newest that fits comes first"
    assert all(tag.endswith("_aarch64") for tag in tags)


LOCKED = """\
# a comment
Always_There==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:cc
typing-extensions==4.16.0 ; python_full_version < '3.13' \\
    --hash=sha256:dd
"""


@pytest.mark.parametrize(
    ("python", "names"),
    [
        pytest.param("3.11.2", ["always-there", "typing-extensions"], id="a line for this Python, none for Windows"),
        pytest.param("3.13.1", ["always-there"], id="a line that only an older Python needs"),
    ],
)
def test_the_lines_that_hold_are_those_of_the_image(python: str, names: list[str]) -> None:
    found = wheels.pins(LOCKED, Target(python, "x86_64", "2.36"))
    assert [pin.name for pin in found] == names
    assert found[0].hashes == {"aa", "bb"}


@pytest.mark.parametrize(
    "locked",
    [
        pytest.param("one==1.0\n", id="no hash"),
        pytest.param("one>=1.0 --hash=sha256:aa\n", id="no exact version"),
    ],
)
def test_a_line_that_is_not_locked_is_refused(locked: str) -> None:
    with pytest.raises(LabError, match="run: make lock"):
        wheels.pins(locked, BOOKWORM)


def test_a_pin_is_written_as_pip_reads_it() -> None:
    assert wheels.pins(str(ONE), BOOKWORM) == [ONE]


@pytest.mark.parametrize(
    ("have", "files", "absent"),
    [
        pytest.param({}, [], ["one", "two"], id="nothing is kept"),
        pytest.param({"one.whl": "b" * 64, "two.whl": "c" * 64}, ["one.whl", "two.whl"], [], id="everything is kept"),
        pytest.param({"one.whl": "d" * 64}, [], ["one", "two"], id="a file with another content is not the wheel"),
        pytest.param({"one.tar.gz": "a" * 64}, [], ["one", "two"], id="a source archive is no wheel"),
        pytest.param(
            {"x.whl": "e" * 64, "two.whl": "c" * 64}, ["two.whl"], ["one"], id="others' wheels are left alone"
        ),
    ],
)
def test_what_is_kept_is_not_fetched_again(have: dict[str, str], files: list[str], absent: list[str]) -> None:
    found, missing = wheels.chosen([ONE, TWO], have)
    assert found == files
    assert [pin.name for pin in missing] == absent


def test_an_image_without_glibc_is_refused() -> None:
    with pytest.raises(LabError, match="no glibc; take a Debian"):
        wheels.target_of({"python": "3.11.2", "machine": "x86_64", "glibc": ""})


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("name", ["runtime.txt", "demo-services.txt"])
def test_the_locked_lists_hold_for_both_machines(name: str, machine: str) -> None:
    found = wheels.pins((checkout() / "requirements" / name).read_text(), Target("3.11.2", machine, "2.36"))
    assert "aiohttp" in [pin.name for pin in found]


@pytest.mark.parametrize(
    "set_before",
    [
        pytest.param({}, id="nothing set: pip's own list and the proxy's"),
        pytest.param({"REQUESTS_CA_BUNDLE": "usual"}, id="a variable that wins over --cert"),
        pytest.param({"PIP_CERT": "usual"}, id="pip's own variable"),
    ],
)
def test_a_proxys_certificate_is_trusted_beside_the_usual_ones(tmp_path: Path, set_before: dict[str, str]) -> None:
    (tmp_path / "proxy.pem").write_text("PROXY\n")
    (tmp_path / "usual").write_text("USUAL\n")
    before = {name: str(tmp_path / value) for name, value in set_before.items()}
    with wheels.trusting(str(tmp_path / "proxy.pem"), {"HOME": "/x", **before}) as environment:
        files = {environment[name] for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")}
        assert len(files) == 1
        text = Path(files.pop()).read_text()
        assert text.endswith("PROXY\n")
        assert ("USUAL" if before else "BEGIN CERTIFICATE") in text
        assert environment["HOME"] == "/x"
    assert not Path(environment["PIP_CERT"]).exists()


def test_without_a_certificate_nothing_is_changed() -> None:
    with wheels.trusting("", {"PIP_CERT": "x"}) as environment:
        assert environment == {"PIP_CERT": "x"}


@pytest.mark.slow
def test_the_same_files_make_the_same_wheel(tmp_path: Path) -> None:
    inputs = recipes.inputs_of(checkout())
    project = recipes.recipes(inputs, recipes.default_base(inputs), "amd64")["base"].project
    assert project is not None
    first = wheels.build_project(project, tmp_path / "1")
    assert first == wheels.build_project(project, tmp_path / "2")
    (tmp_path / first[0]).write_bytes(first[1])
    names = zipfile.ZipFile(tmp_path / first[0]).namelist()
    assert "lab/onhost/fault.py" in names
    assert "lab/driver.py" not in names
