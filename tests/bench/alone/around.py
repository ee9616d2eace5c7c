"""What stands around one measured data plane: nginx, as all whom it calls, as its application, and as the way in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from mesh.config.entries import Limits, Protocol, ServiceIntentions, SourceIntention
from mesh.xds.snapshot import EndpointSnapshot, InboundSnapshot, UpstreamSnapshot
from tests.conformance.planes import world
from tests.conformance.planes.peers import PLAIN_PORT, TLS_PORT
from tests.conformance.planes.plane import OWN, called_at

CALLER, CALLED = "caller-service", 1
MANY = Limits(max_connections=100_000, max_pending_requests=100_000, max_concurrent_requests=100_000)
ENTRANCE = 8081  # where load that comes from outside goes in: nginx proves who it is
BODY = "0123456789abcdef" * 64
NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 50000; }}
http {{
  access_log off;
  keepalive_timeout 3600s;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  upstream sidecar {{ server {called}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 0.0.0.0:{tls_port} ssl backlog=4096;
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;
    ssl_certificate {folder}/upstream.pem;
    ssl_certificate_key {folder}/upstream.pem;
    ssl_client_certificate {folder}/roots.pem;
    ssl_verify_client on;
    ssl_verify_depth 3;
    location / {{ return 200 "{body}"; }}
  }}
  server {{ listen 127.0.0.1:{plain_port} backlog=4096; location / {{ return 200 "{body}"; }} }}
  server {{
    listen 127.0.0.1:{entrance};
    location / {{
      proxy_pass https://sidecar;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_certificate {folder}/caller.pem;
      proxy_ssl_certificate_key {folder}/caller.pem;
    }}
  }}
}}
"""


def virtual_ip(number: int) -> str:
    """Return the address at which upstream `number` is called."""
    return f"240.{number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"


def endpoint(number: int) -> EndpointSnapshot:
    """Return an endpoint; all addresses of 127.0.0.0/8 lead to the one responder."""
    address = f"127.{10 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"
    return EndpointSnapshot(address, TLS_PORT, f"host-{number}", "east")


def upstream(number: int, endpoints: int = 1) -> UpstreamSnapshot:
    """Return an upstream with a name, an address and endpoints of its own."""
    return UpstreamSnapshot(
        f"svc-{number}",
        Protocol.HTTP,
        virtual_ip(number),
        world.spiffe_id("upstream"),
        tuple(endpoint(number + each) for each in range(endpoints)),
        limits=MANY,
    )


def called_by(sources: Sequence[SourceIntention]) -> InboundSnapshot:
    """Return a service beside the sidecar, which some may call."""
    name = f"service-{CALLED}"
    return replace(OWN, name=name, port=called_at(CALLED)[1], intentions=ServiceIntentions(name, tuple(sources)))


@asynccontextmanager
async def responder(authority: world.Authority, folder: Path) -> AsyncIterator[None]:
    """Run nginx while the block runs: as every upstream, as the application, and as the way in from outside."""
    for name, service in (("upstream", "upstream"), ("caller", CALLER)):
        svid = authority.svid(world.spiffe_id(service))
        (folder / f"{name}.pem").write_bytes(svid.key_pem() + svid.chain_pem())
    (folder / "roots.pem").write_bytes(authority.bundle.to_pem())
    called = "{}:{}".format(*called_at(CALLED))
    config = NGINX.format(
        folder=folder, body=BODY, called=called, tls_port=TLS_PORT, plain_port=PLAIN_PORT, entrance=ENTRANCE
    )
    (folder / "nginx.conf").write_text(config)
    process = await asyncio.create_subprocess_exec("nginx", "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf")
    try:
        yield
    finally:
        process.terminate()
        await process.wait()
