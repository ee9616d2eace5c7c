"""Runs on a host as its application: prints every SVID that the agent's socket gives within `argv[1]` seconds.

One JSON line each: {"serial", "not_after", "scalar"}; the scalar is the private key itself, in hexadecimal, so that a
test can look for it where it must not be.
"""

import json
import os
import sys
import threading

from spiffe import WorkloadApiClient

SAYING = threading.Lock()


def say(line):
    with SAYING:
        print(json.dumps(line), flush=True)


def show(context):
    svid = context.default_svid
    scalar = svid.private_key.private_numbers().private_value
    line = {
        "serial": f"{svid.leaf.serial_number:x}",
        "not_after": svid.leaf.not_valid_after_utc.timestamp(),
        "scalar": scalar.to_bytes(32, "big").hex(),
    }
    say(line)


def fail(error):
    say({"error": str(error)})


client = WorkloadApiClient("unix:///run/mesh/agent.sock")
client.stream_x509_contexts(show, fail)
threading.Event().wait(float(sys.argv[1]))
SAYING.acquire()  # the client's thread may be about to say something, and Python does not end while it does
os._exit(0)
