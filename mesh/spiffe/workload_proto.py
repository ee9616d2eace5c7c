"""The SPIFFE Workload API as messages and method names, made at run time.

The service has no protobuf package, so its methods are `/SpiffeWorkloadAPI/...`. Field numbers are those of
`workload.proto` in the SPIFFE standard; a test compares them with those of a foreign client. Only the X.509 profile has
messages: the JWT methods are answered `Unimplemented` before anybody looks into their bytes.
"""

from __future__ import annotations

from mesh.base.protobuf import Schema, build_messages

SERVICE = "SpiffeWorkloadAPI"
FETCH_X509_SVID = "FetchX509SVID"  # stream of X509SVIDResponse
FETCH_X509_BUNDLES = "FetchX509Bundles"  # stream of X509BundlesResponse
UNIMPLEMENTED_STREAMS = ("FetchJWTBundles", "FetchWITBundles")
UNIMPLEMENTED_CALLS = ("FetchJWTSVID", "ValidateJWTSVID", "FetchWITSVID")

# Every call carries this; one without it is answered InvalidArgument (a defence against request forgery).
SECURITY_HEADER = ("workload.spiffe.io", "true")

SCHEMA: Schema = {
    "X509SVIDRequest": [],
    "X509SVIDResponse": [
        ("svids", 1, "X509SVID", True),
        ("crl", 2, "bytes", True),
        ("federated_bundles", 3, "map<string,bytes>", False),
    ],
    "X509SVID": [
        ("spiffe_id", 1, "string", False),
        ("x509_svid", 2, "bytes", False),  # DER, leaf first, one after the other
        ("x509_svid_key", 3, "bytes", False),  # PKCS#8 DER
        ("bundle", 4, "bytes", False),  # DER roots, one after the other
        ("hint", 5, "string", False),
    ],
    "X509BundlesRequest": [],
    "X509BundlesResponse": [
        ("crl", 1, "bytes", True),
        ("bundles", 2, "map<string,bytes>", False),  # SPIFFE ID of the trust domain to DER roots
    ],
}

MESSAGES = build_messages("", SCHEMA)
X509SVIDRequest = MESSAGES["X509SVIDRequest"]
X509SVIDResponse = MESSAGES["X509SVIDResponse"]
X509SVID = MESSAGES["X509SVID"]
X509BundlesRequest = MESSAGES["X509BundlesRequest"]
X509BundlesResponse = MESSAGES["X509BundlesResponse"]


def method_path(name: str) -> str:
    """Return the gRPC path of a method: `/SpiffeWorkloadAPI/<name>`."""
    return f"/{SERVICE}/{name}"
