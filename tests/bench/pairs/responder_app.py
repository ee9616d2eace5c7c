"""An application that costs next to nothing: nginx with bodies of known sizes. It knows nothing of the mesh.

DATA_DIR: where it may write. ADDRESS: where it listens, 127.0.0.1 unless said otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path

SIZES = {"64": 64, "1k": 1024, "64k": 64 * 1024, "1m": 1024 * 1024}
CONFIG = """
daemon off;
pid {data}/nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_timeout 3600s;
  keepalive_requests 1000000000;
  client_max_body_size 16m;
  client_body_buffer_size 2m;
  client_body_temp_path {data}/body;
  proxy_temp_path {data}/proxy;
  fastcgi_temp_path {data}/fastcgi;
  uwsgi_temp_path {data}/uwsgi;
  scgi_temp_path {data}/scgi;
  default_type application/octet-stream;
  open_file_cache max=16;
  server {{
    listen {address}:8080 backlog=4096;
    location / {{ root {data}/bodies; }}
    location = /health {{ return 200; }}
    location = /take {{ return 200; }}
    location = /who {{ return 200 $http_x_forwarded_client_cert; }}
  }}
}}
"""


def main() -> None:
    """Write the bodies and become nginx."""
    data = Path(os.environ["DATA_DIR"])
    bodies = data / "bodies"
    bodies.mkdir(parents=True, exist_ok=True)
    for name, size in SIZES.items():
        (bodies / name).write_bytes(body_of(size))
    config = data / "nginx.conf"
    config.write_text(CONFIG.format(data=data, address=os.environ.get("ADDRESS", "127.0.0.1")))
    os.execvp("nginx", ["nginx", "-e", "stderr", "-p", str(data), "-c", str(config)])


def body_of(size: int) -> bytes:
    """Return a body of a size; what its reader checks it against."""
    return (b"0123456789abcde\n" * (size // 16 + 1))[:size]


if __name__ == "__main__":
    main()
