"""Customers who never stop; runs on order-1 as its application, with nothing but the standard library.

stdin: one line {"customers", "pause_s", "card"}, then whatever keeps it open; when it closes, the customers go home.
stdout: {"ordered", "failures", "slowest_s"}. Nothing is tried again: whatever is not a 201 is a failure.
"""

import http.client
import json
import sys
import threading
import time

ask = json.loads(sys.stdin.readline())
BODY = json.dumps({"pizza": "funghi", "quantity": 1, "card": ask["card"]})
HEADERS = {"content-type": "application/json", "user-agent": "customer"}
closing, lock = threading.Event(), threading.Lock()
ordered, failures, slowest_s = 0, [], 0.0


def order(connection):
    connection.request("POST", "/orders", body=BODY, headers=HEADERS)
    answer = connection.getresponse()
    body = answer.read()
    return answer.status, body


def shop():
    global ordered, slowest_s
    connection = None
    while not closing.is_set():
        connection = connection or http.client.HTTPConnection("127.0.0.1", 8080, timeout=30)
        began = time.monotonic()
        try:
            status, body = order(connection)
            fault = "" if status == 201 else f"status {status}: {body[:200].decode('utf-8', 'replace')}"
        except (OSError, http.client.HTTPException) as error:
            fault = f"{type(error).__name__}: {error}"
        with lock:
            slowest_s = max(slowest_s, time.monotonic() - began)
            ordered += not fault
            if fault:
                failures.append(fault)
        if fault:
            connection.close()
            connection = None
        closing.wait(ask["pause_s"])


customers = [threading.Thread(target=shop) for _ in range(ask["customers"])]
for customer in customers:
    customer.start()
sys.stdin.read()
closing.set()
for customer in customers:
    customer.join()
print(json.dumps({"ordered": ordered, "failures": failures, "slowest_s": slowest_s}))
