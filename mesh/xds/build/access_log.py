"""The access log that a listener asks for: one JSON line per request or connection, the same keys for both data planes.

The values are Envoy's command operators. Envoy evaluates them; the Python sidecar knows the keys and writes the same
line from its own record (and a few keys more: the deciding rule, the attempts).
"""

from __future__ import annotations

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import substitution_format_string_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2

from mesh.xds.build.pack import packed

NAME = "envoy.access_loggers.file"

FIELDS = {
    "start_time": "%START_TIME%",
    "protocol": "%PROTOCOL%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "authority": "%REQ(:AUTHORITY)%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_peer": "%UPSTREAM_PEER_URI_SAN%",
    "upstream_local": "%UPSTREAM_LOCAL_URI_SAN%",
    "downstream_peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "downstream_local": "%DOWNSTREAM_LOCAL_URI_SAN%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "original_destination": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "route_name": "%ROUTE_NAME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "traceparent": "%REQ(TRACEPARENT)%",
    "b3": "%REQ(B3)%",
    "b3_trace_id": "%REQ(X-B3-TRACEID)%",
    "b3_span_id": "%REQ(X-B3-SPANID)%",
    "attempt_count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "user_agent": "%REQ(USER-AGENT)%",
}
# Of a stream of bytes, Envoy says in other words how it ended.
STREAM_FIELDS = FIELDS | {"protocol": "TCP", "response_code_details": "%CONNECTION_TERMINATION_DETAILS%"}


def access_log(path: str, reporter: str, *, is_stream: bool = False) -> accesslog_pb2.AccessLog:
    """Return a file access log.

    Args:
        path: the file on the proxy's host.
        reporter: which end of the call writes: `source` or `destination`.
        is_stream: what is carried is no HTTP.
    """
    line = substitution_format_string_pb2.SubstitutionFormatString()
    line.json_format.update({"reporter": reporter, **(STREAM_FIELDS if is_stream else FIELDS)})
    return accesslog_pb2.AccessLog(name=NAME, typed_config=packed(file_pb2.FileAccessLog(path=path, log_format=line)))
