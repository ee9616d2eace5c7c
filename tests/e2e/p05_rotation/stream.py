"""Runs on a host as its application: talks over one TCP connection until it ends, or for `argv[3]` seconds at most.

argv: host, port, seconds, and how long one answer may take; prints {"exchanges", "ended_at", "how"}.
"""

import json
import socket
import sys
import time

host, port, seconds, patience_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
until = time.time() + seconds
exchanges, how = 0, "still open"
stream = socket.create_connection((host, port), patience_s)
stream.settimeout(patience_s)
while time.time() < until:
    try:
        stream.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = stream.recv(65536)
    except OSError as error:
        how = type(error).__name__
        break
    if not answer:
        how = "closed"
        break
    exchanges += 1
    time.sleep(0.02)
print(json.dumps({"exchanges": exchanges, "ended_at": time.time(), "how": how}))
