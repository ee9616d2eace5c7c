"""A customer in a hurry; runs on a host as its application, with nothing but the standard library.

stdin: {"host", "port", "keeping", "opening", "pause_s", "seconds", "answers", "at_most_s"};
stdout: {"answered", "failures", "slowest_s"}. It goes on for `seconds`, and on a slow machine until `answers` came or
`at_most_s` are over. `keeping` workers each keep one connection, `opening` workers open one per request. Nothing is
tried again here: whatever is not a 2xx answer is a failure. Each pauses twice as long as its answer took, or `pause_s`:
a machine that has other things to do would else have a health check time out, which is no matter of certificates.
"""

import asyncio
import json
import sys
import time

GET = b"GET /health HTTP/1.1\r\nhost: %s\r\nuser-agent: load\r\n\r\n"
# Without an idempotency key: the mesh may not try it again once a byte of it was sent.
POST = (
    b"POST /tickets HTTP/1.1\r\nhost: %s\r\nuser-agent: load\r\n"
    b'content-type: application/json\r\ncontent-length: 17\r\n\r\n{"order_id": "x"}'
)


class Load:
    def __init__(self, ask):
        self.ask = ask
        began = time.monotonic()
        self.until, self.at_last = began + ask["seconds"], began + ask["at_most_s"]
        self.answered, self.failures, self.slowest_s = 0, [], 0.0
        host = ask["host"].encode()
        self.requests = (GET % host, POST % host)

    async def run(self):
        ask = self.ask
        workers = [self.work(n, keeps=True) for n in range(ask["keeping"])]
        workers += [self.work(n, keeps=False) for n in range(ask["opening"])]
        await asyncio.gather(*workers)
        return {"answered": self.answered, "failures": self.failures, "slowest_s": self.slowest_s}

    def goes_on(self, now):
        return now < self.until or (now < self.at_last and self.answered < self.ask["answers"])

    async def work(self, number, *, keeps):
        await asyncio.sleep(self.ask["pause_s"] * number / (self.ask["keeping"] + self.ask["opening"]))
        connection = None
        while self.goes_on(time.monotonic()):
            number += 1
            began = time.monotonic()
            try:
                connection = connection or await asyncio.open_connection(self.ask["host"], self.ask["port"])
                status, is_kept = await asyncio.wait_for(exchange(*connection, self.requests[number % 2]), 10)
                if 200 <= status < 300:
                    self.answered += 1
                else:
                    self.failures.append(f"status {status}")
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                is_kept = False
            took_s = time.monotonic() - began
            self.slowest_s = max(self.slowest_s, took_s)
            if connection and not (keeps and is_kept):
                connection[1].close()
                connection = None
            await asyncio.sleep(max(self.ask["pause_s"], 2 * took_s))  # a load, and no overload


async def exchange(reader, writer, request):
    """Make one request; return the status and whether the connection may be used again."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1]), b"connection: close" not in head


print(json.dumps(asyncio.run(Load(json.load(sys.stdin)).run())))
