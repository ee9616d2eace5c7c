"""What Envoy is told to take out is what the Python sidecar takes out."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mesh.proxy.http.trusted import is_trusted_name
from mesh.xds.build.claims import OF_A_PEER, OF_THE_APPLICATION

WORDS = st.sampled_from(["x", "envoy", "mesh", "forwarded", "client", "cert", "for", "retry", "on", "meshed", "a"])
NAMES = st.lists(st.tuples(WORDS, st.sampled_from("-_")), min_size=1, max_size=6).map(
    lambda parts: "".join(word + dash for word, dash in parts)[:-1]
)
X_NAMES = st.tuples(st.sampled_from(["x-", "x_"]), NAMES).map("".join)


@given(NAMES | X_NAMES)
def test_of_a_peer(name: str) -> None:
    assert bool(re.fullmatch(OF_A_PEER, name)) == is_trusted_name(name)


@given(NAMES | X_NAMES)
def test_of_the_application_but_for_what_it_may_ask_its_own_sidecar(name: str) -> None:
    is_a_wish = name.startswith("x-envoy-") and "_" not in name
    assert bool(re.fullmatch(OF_THE_APPLICATION, name)) == (is_trusted_name(name) and not is_a_wish)
