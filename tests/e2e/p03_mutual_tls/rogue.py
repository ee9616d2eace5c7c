"""A server that is not who it should be; runs on a host as the sidecar's user, in the sidecar's place.

argv: port; stdin: chain and key as PEM, or nothing: then it speaks plain HTTP. For each connection a line of JSON on
stdout: {"chain": of the client, "heard": bytes of the application, "raw": first bytes when there was no TLS}.
"""

import base64
import json
import os
import socket
import ssl
import sys

DER = 2  # _ssl.ENCODING_DER
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nrogue"


def context_of(pem):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.verify_mode = ssl.CERT_OPTIONAL
    authorities = pem.split("-----BEGIN CERTIFICATE-----")[1:]
    context.load_verify_locations(cadata="-----BEGIN CERTIFICATE-----" + authorities[-1].split("-----BEGIN P")[0])
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    fd = os.memfd_create("pem")
    os.write(fd, pem.encode())
    context.load_cert_chain(f"/proc/self/fd/{fd}")
    return context


def chain_of(tls):
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return list(public() or ())
    return [certificate.public_bytes(DER) for certificate in tls._sslobj.get_unverified_chain() or ()]


def serve(raw, context):
    said = {"chain": [], "heard": "", "error": ""}
    try:
        raw.settimeout(5)
        peer = context.wrap_socket(raw, server_side=True) if context else raw
        if context:
            said["chain"] = [base64.b64encode(der).decode() for der in chain_of(peer)]
        data = peer.recv(65536)
        said["heard"] = data.hex()
        peer.sendall(ANSWER)
        peer.close()
    except OSError as error:
        said["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(said), flush=True)


pem = sys.stdin.read()
context = context_of(pem) if pem else None
with socket.create_server(("0.0.0.0", int(sys.argv[1])), reuse_port=False) as server:
    print(json.dumps({"listening": True}), flush=True)
    while True:
        serve(server.accept()[0], context)
