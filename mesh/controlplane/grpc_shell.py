"""gRPC around our services: bytes to messages, errors to status codes, and an end to every stream.

A behaviour is an `async def` of a service; here it becomes a handler of grpc.aio. Whatever it refuses by raising
becomes a status with the sentence; what it did not mean to raise becomes INTERNAL and a line in the log.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from mesh.api.rpc import Method
from mesh.base.errors import ConfigError, IdentityError, LocalProtocolError, MeshError, RemoteProtocolError
from mesh.controlplane.errors import ConflictError, ExpiredError, NotFoundError
from mesh.controlplane.store import StoreError

log = logging.getLogger("mesh.controlplane.grpc")

Behaviour = Callable[[Any, Any], Awaitable[Any]]

_CODES: tuple[tuple[type[MeshError], grpc.StatusCode], ...] = (
    (IdentityError, grpc.StatusCode.PERMISSION_DENIED),
    (RemoteProtocolError, grpc.StatusCode.INVALID_ARGUMENT),
    (ConfigError, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (ConflictError, grpc.StatusCode.FAILED_PRECONDITION),
    (StoreError, grpc.StatusCode.UNAVAILABLE),
    (LocalProtocolError, grpc.StatusCode.INTERNAL),
)


def service(name: str, behaviours: Mapping[Method, Behaviour]) -> grpc.GenericRpcHandler:
    """Return the handler of one service of our own package."""
    handlers = {method.name: _handler(method, behaviour) for method, behaviour in behaviours.items()}
    return grpc.method_handlers_generic_handler(name, handlers)


def raw_streams(name: str, behaviours: Mapping[str, Behaviour]) -> grpc.GenericRpcHandler:
    """Return the handler of a service whose methods stream bytes both ways (xDS: the machines do the decoding)."""
    handlers = {
        method: grpc.stream_stream_rpc_method_handler(guarded(f"{name}/{method}", behaviour))
        for method, behaviour in behaviours.items()
    }
    return grpc.method_handlers_generic_handler(name, handlers)


def guarded(path: str, behaviour: Behaviour) -> Behaviour:
    """Wrap a behaviour so that each error it raises becomes a status."""

    @functools.wraps(behaviour)
    async def run(request: Any, context: Any) -> Any:
        try:
            return await behaviour(request, context)
        except MeshError as error:
            refusal = error
        except BaseExceptionGroup as group:  # from the tasks of a stream
            found = _first_of_ours(group)
            if found is None:
                raise
            refusal = found
        code = status_of(refusal)
        log.info("call refused", extra={"method": path, "code": code.name, "reason": str(refusal)})
        return await context.abort(code, str(refusal)[:1000])

    return run


def _first_of_ours(group: BaseExceptionGroup[BaseException]) -> MeshError | None:
    for error in group.exceptions:
        found = _first_of_ours(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, MeshError):
            return found
    return None


def status_of(error: MeshError) -> grpc.StatusCode:
    """Return the status code that says whose fault an error is."""
    if isinstance(error, ExpiredError):
        return grpc.StatusCode.UNAUTHENTICATED
    return next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def _handler(method: Method, behaviour: Behaviour) -> grpc.RpcMethodHandler:
    kind = "stream" if method.client_streams else "unary", "stream" if method.server_streams else "unary"
    make = {
        ("unary", "unary"): grpc.unary_unary_rpc_method_handler,
        ("unary", "stream"): grpc.unary_stream_rpc_method_handler,
        ("stream", "stream"): grpc.stream_stream_rpc_method_handler,
    }[kind]
    return make(
        guarded(method.path, behaviour),
        request_deserializer=method.request.FromString,
        response_serializer=method.response.SerializeToString,
    )
