"""One HTTP call, made on a host by its own Python: prints the status, or 0 and why there was no answer.

python3 - URL < call.py
"""

# ruff: noqa: T201 - what it prints is its answer
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 10

try:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=TIMEOUT_S) as answer:
        print(answer.status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError as error:
    print(f"0 {error}")
