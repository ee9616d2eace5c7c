"""Names that only the mesh may say, taken out of a request before Envoy looks at it.

The Python sidecar strips them by itself (`mesh.proxy.http.trusted`); Envoy is told to, by a mutation of the head as it
came. An underscore stands for a dash in every pattern: a backend that maps fields to variables (CGI, WSGI) reads
`x_forwarded_client_cert` as the identity that Envoy wrote.
"""

from __future__ import annotations

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.type.matcher.v3 import string_pb2

from mesh.xds.build.matching import regex
from mesh.xds.build.pack import packed

NAME = "envoy.http.early_header_mutation.header_mutation"
OF_A_PEER = "x[-_](envoy|mesh)[-_].*|x[-_]forwarded[-_]client[-_]cert"
# The application says `x-envoy-retry-on` and the like to its own sidecar, spelled as Envoy spells it and not otherwise.
OF_THE_APPLICATION = (
    "x[-_]mesh[-_].*|x[-_]forwarded[-_]client[-_]cert|x_envoy[-_].*|x-envoy_.*|x-envoy-.*_.*"  # the last three: aliases
)


def without_claims(*, is_behind_sidecar: bool) -> TypedExtensionConfig:
    """Return the mutation that takes the names out, for an `early_header_mutation_extensions`.

    Args:
        is_behind_sidecar: the request comes from a peer's sidecar, not from the application.
    """
    names = string_pb2.StringMatcher(safe_regex=regex(OF_A_PEER if is_behind_sidecar else OF_THE_APPLICATION))
    removal = HeaderMutation(remove_on_match=HeaderMutation.RemoveOnMatch(key_matcher=names))
    return TypedExtensionConfig(name=NAME, typed_config=packed(header_mutation_pb2.HeaderMutation(mutations=[removal])))
