"""The numbers that bound one message. Each is enforced before the bytes are kept, not after."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one peer may make us hold.

    The first two are Envoy's (max_request_headers_kb 60, max_headers_count 100); a head over either is a 431. The
    target's is what most servers take (414). The others are ours.
    """

    max_head_bytes: int = 60 * 1024
    max_fields: int = 100
    max_target_bytes: int = 8 * 1024
    max_chunk_line_bytes: int = 1024  # one chunk-size line with its extensions
    max_chunk_extension_bytes: int = 4 * 1024  # all extensions of one message
    max_trailer_bytes: int = 8 * 1024  # all trailer lines of one message
    max_interim_responses: int = 8  # 1xx heads before the final one


DEFAULT_LIMITS = HttpLimits()
