"""What a person may say about images."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from lab.compose import build
from lab.compose.options import FROM_BUNDLE, NO_REGISTRY, SAID, Noted, Options, choose_base, origin
from lab.compose.recipes import Base
from lab.driver import LabError

DEFAULT = Base("debian@sha256:1")


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        pytest.param({}, Options(), id="nothing said"),
        pytest.param({"BASE": "debootstrap"}, Options(base="debootstrap"), id="Debian packages alone"),
        pytest.param({"BASE_IMAGE": "ubuntu:24.04"}, Options(base="ubuntu:24.04"), id="another base image"),
        pytest.param(
            {"OFFLINE": "1", "BUNDLE": "b.tar"}, Options(is_offline=True, bundle="b.tar"), id="without a network"
        ),
        pytest.param({"OFFLINE": "0", "BUNDLE": ""}, Options(), id="OFFLINE=0 says no"),
        pytest.param({"SIDECAR": "order-1=envoy"}, Options(has_envoy=True), id="Envoy on some host"),
        pytest.param({"SIDECAR": "python", "ENVOY_IMAGE": ""}, Options(), id="no Envoy"),
        pytest.param(
            {"ENVOY_IMAGE": "e@sha256:1"}, Options(envoy_image="e@sha256:1"), id="an image of Envoy, by digest"
        ),
    ],
)
def test_options(environment: dict[str, str], options: Options) -> None:
    assert Options.from_environment(environment) == options


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        pytest.param(
            {"BASE": "ubuntu"}, "right would be BASE=debootstrap, or BASE_IMAGE=ubuntu", id="a word for another"
        ),
        pytest.param({"BASE": "debootstrap", "BASE_IMAGE": "x"}, "say one of them", id="both ways at once"),
        pytest.param({"CA_BUNDLE": "/nowhere.pem"}, "no such file", id="a file that is not there"),
        pytest.param(
            {"ENVOY_IMAGE": "envoy:v1"}, "right would be envoy:v1@sha256", id="an image by a name that may move"
        ),
    ],
)
def test_what_contradicts_itself_is_refused(environment: dict[str, str], says: str) -> None:
    with pytest.raises(LabError, match=says) as caught:
        Options.from_environment(environment)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("said", "noted", "base"),
    [
        pytest.param("", Noted(), DEFAULT, id="the default"),
        pytest.param("", Noted("debootstrap", SAID), Base(is_own_wish=True), id="a wish holds"),
        pytest.param(
            "", Noted("debootstrap", NO_REGISTRY), Base(), id="what was taken for want of a registry is no wish"
        ),
        pytest.param("", Noted("debootstrap"), Base(), id="nor is a note without a reason"),
        pytest.param(
            "ubuntu:24.04", Noted("debootstrap", SAID), Base("ubuntu:24.04", is_own_wish=True), id="what is said now"
        ),
        pytest.param(
            "default", Noted("debootstrap", SAID), replace(DEFAULT, is_own_wish=True), id="the way back to the default"
        ),
    ],
)
def test_choose_base(said: str, noted: Noted, base: Base) -> None:
    assert choose_base(said, noted, DEFAULT) == base


@pytest.mark.parametrize(
    ("said", "noted", "words"),
    [
        pytest.param("", Noted("debootstrap", SAID), "from debootstrap, as you said before", id="a wish"),
        pytest.param("", Noted("debootstrap", NO_REGISTRY), "as no registry answered", id="a registry that was away"),
        pytest.param("", Noted("debootstrap", FROM_BUNDLE), "as the bundle had it", id="a bundle"),
        pytest.param("", Noted("debootstrap"), "as .lab/cache/base says", id="a note of an older checkout"),
        pytest.param("debootstrap", Noted("debootstrap", SAID), "", id="whoever says it now knows it"),
        pytest.param("", Noted("ubuntu:24.04", NO_REGISTRY), "", id="what was noted and not taken"),
    ],
)
def test_where_a_noted_base_comes_from(said: str, noted: Noted, words: str) -> None:
    told = origin(said, noted, Base())
    assert words in told
    assert bool(told) is bool(words) is ("BASE_IMAGE=default" in told)


def test_the_same_context_is_the_same_bytes(tmp_path: Path) -> None:
    kept = tmp_path / "kept.whl"
    kept.write_bytes(b"wheel")
    packed = []
    for context in ({"b": b"1", "wheels/kept.whl": kept}, {"wheels/kept.whl": kept, "b": b"1"}):
        file = io.BytesIO()
        build.pack(context, file)
        packed.append(file.getvalue())
        kept.touch()
        kept.chmod(0o600)
    assert packed[0] == packed[1]
    with tarfile.open(fileobj=io.BytesIO(packed[0])) as archive:
        assert [(entry.name, entry.mode, entry.uid) for entry in archive] == [
            ("b", 0o644, 0),
            ("wheels/kept.whl", 0o644, 0),
        ]


def test_a_build_gets_the_proxies_of_this_shell_and_nothing_else() -> None:
    shell = {"https_proxy": "http://p:1", "NO_PROXY": "x", "PATH": "/bin", "AWS_SECRET": "s", "HTTP_PROXY": ""}
    assert build.proxies(shell) == {"https_proxy": "http://p:1", "NO_PROXY": "x"}
