"""Dials a mesh port with a certificate of one's own making; runs on a host with nothing but the standard library.

stdin: {"address", "port", "pem", "version", "paths", "session_until"}. `pem` is chain and key, or nothing. `paths` are
asked for one after the other on one connection. With `session_until` (seconds since 1970) the last path is asked for
after that moment, and then a second connection tries to resume the session of the first.
stdout: {"port", "version", "chain", "statuses", "bodies", "error", "has_ticket", "second"}.
"""

import base64
import json
import os
import socket
import ssl
import sys
import time

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
DER = 2  # _ssl.ENCODING_DER


def context_of(ask):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # whatever is refused is refused by the mesh, not by us
    context.minimum_version = context.maximum_version = VERSIONS[ask["version"]]
    if ask["pem"]:
        fd = os.memfd_create("pem")
        os.write(fd, ask["pem"].encode())
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    return context


def chain_of(tls):
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return list(public() or ())
    return [certificate.public_bytes(DER) for certificate in tls._sslobj.get_unverified_chain() or ()]


def request(tls, path):
    tls.sendall(f"GET {path} HTTP/1.1\r\nhost: payment-service\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = tls.recv(65536)
        if not data:
            raise EOFError("closed")
        answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += tls.recv(65536) or b"\0" * length
    return int(head.split(b" ", 2)[1]), body.decode()


def attempt(context, ask, session=None, paths=()):
    said = {"port": 0, "version": "", "chain": [], "statuses": [], "bodies": [], "error": "", "has_ticket": False}
    kept = None
    try:
        raw = socket.create_connection((ask["address"], ask["port"]), 5)
        raw.settimeout(5)
        said["port"] = raw.getsockname()[1]
        with context.wrap_socket(raw, session=session) as tls:
            said["version"] = tls.version()
            said["chain"] = [base64.b64encode(der).decode() for der in chain_of(tls)]
            for number, path in enumerate(paths, 1):
                if ask["session_until"] and number == len(paths) > 1:
                    time.sleep(max(0.0, ask["session_until"] - time.time()))
                status, body = request(tls, path)
                said["statuses"].append(status)
                said["bodies"].append(body)
                kept = tls.session
            said["has_ticket"] = bool(kept and kept.has_ticket)
            said["is_resumed"] = bool(tls.session_reused)
    except (OSError, EOFError, ValueError) as error:
        said["error"] = f"{type(error).__name__}: {error}"
    return said, kept


ask = json.load(sys.stdin)
context = context_of(ask)
first, session = attempt(context, ask, paths=ask["paths"])
if ask["session_until"]:
    first["second"] = attempt(context, ask, session, ask["paths"][-1:])[0]
print(json.dumps(first))
