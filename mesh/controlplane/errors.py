"""Two more ways to say no, each with an HTTP status of its own."""

from __future__ import annotations

from mesh.base.errors import MeshError


class NotFoundError(MeshError):
    """What was asked for does not exist (404, NOT_FOUND)."""


class ConflictError(MeshError):
    """What was asked for contradicts what is there (409, FAILED_PRECONDITION)."""
