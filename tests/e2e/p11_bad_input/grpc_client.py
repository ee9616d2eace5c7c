"""Runs on a host: speaks to the control plane as whoever it was told to be, and prints what came back, as JSON.

stdin: {"pem": {"roots", "key", "chain"} (the last two may be missing), "calls": [{"target", "path", "kind", "requests",
"times"}]}; requests and answers are protobuf in base64. `kind` is unary or stream; a stream is read to its first answer
after each request.
"""

import base64
import json
import queue
import sys

import grpc

ask = json.load(sys.stdin)
pem = {name: text.encode() for name, text in ask["pem"].items()}
credentials = grpc.ssl_channel_credentials(pem["roots"], pem.get("key"), pem.get("chain"))
options = [("grpc.ssl_target_name_override", "control-plane.mesh"), ("grpc.enable_http_proxy", 0)]


def coded(answer):
    return base64.b64encode(answer).decode()


def unary(channel, call):
    request = base64.b64decode(call["requests"][0])
    method = channel.unary_unary(call["path"])
    return [coded(each.result()) for each in [method.future(request, timeout=8) for _ in range(1)]]


def together(channel, call):
    """Make the same call several times at once; say how each ended."""
    request = base64.b64decode(call["requests"][0])
    pending = [channel.unary_unary(call["path"]).future(request, timeout=8) for _ in range(call["times"])]
    return [each.code().name for each in pending]


def stream(channel, call):
    outgoing = queue.Queue()
    answers = channel.stream_stream(call["path"])(iter(outgoing.get, None), timeout=8)
    found = []
    for request in call["requests"]:
        outgoing.put(base64.b64decode(request))
        found.append(coded(next(answers)))
    outgoing.put(None)
    answers.cancel()
    return found


results = []
for call in ask["calls"]:
    with grpc.secure_channel(call["target"], credentials, options) as channel:
        try:
            answers = {"unary": unary, "together": together, "stream": stream}[call["kind"]](channel, call)
            results.append({"code": "OK", "details": "", "answers": answers})
        except grpc.RpcError as error:
            results.append({"code": error.code().name, "details": error.details(), "answers": []})
print(json.dumps(results))
