"""More ways to say no, each with a kind of its own in the HTTP API."""

from __future__ import annotations

from mesh.base.errors import IdentityError, MeshError


class NotFoundError(MeshError):
    """What was asked for does not exist (404, NOT_FOUND)."""


class ConflictError(MeshError):
    """What was asked for contradicts what is there (409, FAILED_PRECONDITION)."""


class NotYetError(ConflictError):
    """What was asked for will be possible once others have come along (409, FAILED_PRECONDITION)."""


class ExpiredError(IdentityError):
    """The certificate that a stream was opened with is over (UNAUTHENTICATED)."""
