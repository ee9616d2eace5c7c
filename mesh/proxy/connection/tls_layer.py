"""TLS between a socket and an application protocol: the handshake, the proof of identity, then plain bytes.

Own code instead of the event loop's TLS for three reasons. The application above sees the connection only once the
peer's certificate was verified, synchronously, before a byte of HTTP is looked at. Half-close works: a close_notify
says "I have no more to send" and reading goes on (RFC 8446 section 6.1), which the loops' TLS cannot do. And a
connection costs two small memory BIOs rather than a receive buffer of 256 KiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mesh.base.errors import IdentityError
from mesh.proxy.connection.peer import Peer, der_chain

HANDSHAKE_TIMEOUT_S = 5.0
_LINGER_RESET = struct.pack("ii", 1, 0)  # on, for no time: close(2) sends RST
_SAID_PLAINLY = {  # OpenSSL's verdicts (x509_vfy.h) whose own words do not tell what is wrong
    18: "self-signed, and not a root that we know",
    19: "its root is not one that we know: another trust domain, or a forged authority",
    20: "issued by nobody that we know: another trust domain, a forged authority, or an intermediate is missing",
    21: "issued by nobody that we know: another trust domain, a forged authority, or an intermediate is missing",
    26: "extended key usage does not allow this side of a connection",
    79: "an issuer in its chain is not a CA",
}
_RECORD = 65536  # asked of OpenSSL per read; it gives at most one record, 16 KiB


class Wire(Protocol):
    """What an application needs of the thing below it: a socket's transport, or a TlsLayer."""

    def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


def reset(wire: Wire) -> None:
    """End a connection with a TCP reset, so that nobody takes what was sent for all there is.

    `abort` alone sends a FIN when the buffers are empty (libuv closes), which ends a body without a length cleanly.
    """
    sock = wire.get_extra_info("socket")
    if sock is not None and not wire.is_closing():
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    wire.abort()


class TlsLayer(asyncio.Protocol):
    """Below, the protocol of a socket; above, the transport of an application protocol.

    Args:
        context: made by `secrets`; TLS 1.3 only, a certificate is demanded.
        app: gets `connection_made` after the peer is proven, and nothing at all when it is not.
        verify: judges the peer's DER chain, leaf first; returns the proven peer or raises IdentityError.
        on_settled: told once how it went: with nothing when the peer is proven and `app` has the connection, else
            with the reason why there will be none (handshake, identity, time, or closed before).
        server_hostname: the SNI to send; None on the server's side.
    """

    __slots__ = (
        "_app",
        "_context",
        "_deadline",
        "_incoming",
        "_is_closing",
        "_is_eof_told",
        "_is_open",
        "_is_paused",
        "_on_settled",
        "_outgoing",
        "_server_hostname",
        "_server_side",
        "_tls",
        "_transport",
        "_verify",
        "peer",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        app: asyncio.Protocol,
        *,
        verify: Callable[[Sequence[bytes]], Peer],
        on_settled: Callable[[str], None],
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        self._context = context
        self._app = app
        self._verify = verify
        self._on_settled: Callable[[str], None] | None = on_settled
        self._server_side = server_side
        self._server_hostname = server_hostname
        self._is_open = False
        self._is_closing = False
        self._is_eof_told = False
        self._is_paused = False
        self.peer: Peer | None = None

    # ------------------------------------------------------------------------------- from the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._transport: Any = transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._context.wrap_bio(
            self._incoming, self._outgoing, server_side=self._server_side, server_hostname=self._server_hostname
        )
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HANDSHAKE_TIMEOUT_S, self._refuse, "TLS handshake: not done in time")
        self._handshake()

    def data_received(self, data: bytes) -> None:
        """Take ciphertext; hand plain bytes up, those of one read joined."""
        self._incoming.write(data)
        if not self._is_open:
            self._handshake()
        elif not self._is_paused:
            self._read()

    def eof_received(self) -> bool:
        """Take the end of TCP. Without a close_notify before it the stream was cut, perhaps by somebody else."""
        if not self._is_eof_told:
            self._transport.abort()
        return self._is_eof_told  # after a close_notify our own direction may still be in use

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the end on, to whoever was told of the beginning."""
        self._deadline.cancel()
        if self._is_open:
            self._is_open = False
            self._is_closing = True
            if exc is None and not self._is_eof_told:
                exc = ConnectionResetError("the peer ended TCP without a TLS close_notify")
            self._app.connection_lost(exc)
        else:
            self._settle("connection closed during the TLS handshake")

    def pause_writing(self) -> None:
        """Pass back-pressure up."""
        if self._is_open:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        """Pass its end up."""
        if self._is_open:
            self._app.resume_writing()

    # ------------------------------------------------------------------------------- handshake

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._flush()  # the alert, so that the peer learns why
            self._refuse(_fault(error))
            return
        self._flush()
        self._prove()

    def _prove(self) -> None:
        try:
            self.peer = self._verify(der_chain(self._tls))
        except IdentityError as error:
            self._refuse(str(error))
            return
        self._deadline.cancel()
        self._is_open = True
        self._app.connection_made(self)  # type: ignore[arg-type]  # a Wire is all that our applications use
        self._settle("")
        self._read_on()

    def _refuse(self, reason: str) -> None:
        self._deadline.cancel()
        self._settle(reason)
        # Not abort: what is written (an alert) still leaves, what comes is no longer read by anybody.
        self._transport.close()

    def _settle(self, reason: str) -> None:
        on_settled, self._on_settled = self._on_settled, None
        if on_settled is not None:
            on_settled(reason)

    # ------------------------------------------------------------------------------- open

    def _read_on(self) -> None:
        """Read what came together with the handshake, or while the application had paused."""
        if self._is_open and not self._is_closing and not self._is_paused and self._incoming.pending:
            self._read()

    def _read(self) -> None:
        tls, incoming = self._tls, self._incoming
        chunks: list[bytes] = []
        ended: Exception | bool = False
        try:
            # An exception costs more than a record: ask only while something is there.
            while incoming.pending or tls.pending():
                chunk = tls.read(_RECORD)
                if not chunk:
                    ended = True
                    break
                chunks.append(chunk)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError as error:
            ended = error
        if chunks:
            self._app.data_received(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if ended is True:
            self._end_reading()
        elif ended:
            self.abort()

    def _end_reading(self) -> None:
        """The peer sent its close_notify: it has no more to say."""
        if self._is_open and not self._is_eof_told:
            self._is_eof_told = True
            if not self._app.eof_received():
                self.close()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    # ------------------------------------------------------------------------------- a transport's face

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if self._is_closing or not data:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError:
            self.abort()
            return
        self._transport.write(self._outgoing.read())

    def write_eof(self) -> None:
        """Say with a close_notify that no more will be sent; reading goes on."""
        # Want-read is what it says as a rule: the peer's own close_notify has not come yet.
        with contextlib.suppress(ssl.SSLError, OSError):
            self._tls.unwrap()
        self._flush()

    def close(self) -> None:
        """Send what is written, the close_notify, and close."""
        if not self._is_closing:
            self._is_closing = True
            self.write_eof()
            self._transport.close()

    def abort(self) -> None:
        """Close at once; the peer sees a reset or a cut stream, never a clean end."""
        self._is_closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        """Say whether the connection is on its way out."""
        return self._is_closing or bool(self._transport.is_closing())

    def pause_reading(self) -> None:
        """Let the socket's buffer fill and TCP slow the peer down."""
        self._is_paused = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            asyncio.get_running_loop().call_soon(self._read_on)
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return `peer` (the proven one) or what the socket's transport knows."""
        return self.peer if name == "peer" else self._transport.get_extra_info(name, default)


def _fault(error: Exception) -> str:
    """Name what was wrong with a handshake; for a certificate, what exactly was wrong with it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"verifying peer certificate: {_SAID_PLAINLY.get(error.verify_code, error.verify_message)}"
    return f"TLS handshake: {getattr(error, 'reason', None) or error}"
