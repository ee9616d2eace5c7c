"""Promise 2: between hosts there is only TLS 1.3, and the card number of an order is nowhere on the wire."""

from __future__ import annotations

import base64
import contextlib
import socket
from collections import Counter
from collections.abc import Iterator

from mesh.base import ports
from tests.e2e.kit import CARD, Lab, eventually
from tests.e2e.p02_wire import capture

# All that an order needs, once; and one from outside.
LAB_HOSTS = ("cp-1", "order-1", "payment-1", "ledger-1", "makeline-1", "inventory-1", "stranger-1")
TLS_1_3 = 0x0304
CONTROL_PORTS = {ports.CONTROL_GRPC, ports.CONTROL_JOIN}
# Prints the device that has an address: a machine has another for its ssh.
DEVICE = """
import fcntl, socket, struct, sys
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _, name in socket.if_nameindex():
    try:
        found = fcntl.ioctl(asking, 0x8915, struct.pack("256s", name.encode()))  # SIOCGIFADDR
    except OSError:
        continue
    if socket.inet_ntoa(found[20:24]) == sys.argv[1]:
        print(name)
"""
READ = "import base64, sys; print(base64.b64encode(open(sys.argv[1], 'rb').read()).decode())"


@contextlib.contextmanager
def captured(lab: Lab, host: str, device: str) -> Iterator[list[capture.Capture]]:
    """Capture on a host while the block runs; the list holds the capture afterwards."""
    path = f"/tmp/{device}.pcap"
    found: list[capture.Capture] = []
    with lab.background(host, "tcpdump", "-Z", "root", "-U", "-n", "-i", device, "-w", path, user="root") as process:
        assert process.stderr is not None
        eventually(lambda: "listening on" in process.stderr.readline(), what="tcpdump to listen")
        yield found
        # What was sent is in the file once a packet sent after it is.
        before = _size(lab, host, path)
        eventually(lambda: lab.order() and _size(lab, host, path) > before, what="a later packet in the file")
    found.append(capture.read(base64.b64decode(lab.python(host, READ, path, user="root").stdout)))


def _size(lab: Lab, host: str, path: str) -> int:
    return int(lab.run(host, "stat", "-c", "%s", path, user="root").stdout or 0)


def test_01_the_card_number_is_nowhere_on_the_wire_and_all_of_it_is_tls_1_3(lab: Lab) -> None:
    device = lab.python("payment-1", DEVICE, lab.driver.address_of("payment-1")).stdout.strip()
    with captured(lab, "payment-1", device) as found:
        for _ in range(4):
            assert lab.order().status == 201
        lab.driver.unit("payment-1", "sidecar", "kill")  # so that handshakes of both directions are in the capture
        eventually(
            lambda: "payment-1" in {lab.order().json.get("charge", {}).get("served_by") for _ in range(2)},
            what="payment-1 to serve again",
        )
    (wire,) = found
    ports_of_services = {8080}
    needle = CARD.encode()
    assert needle not in wire.raw
    assert needle.replace(b"-", b"") not in wire.raw
    assert base64.b64encode(needle)[:-4] not in wire.raw
    assert not [stream for stream in wire.streams.values() if needle in stream]

    address = socket.inet_aton(lab.driver.address_of("payment-1"))
    hellos: Counter[int] = Counter()
    for (source, source_port, target, target_port), stream in wire.streams.items():
        assert address in (source, target)
        if (source, source_port, target, target_port) not in wire.begun:
            continue  # open before the capture began: it cannot be read from its first byte
        records = list(capture.tls_records(stream))
        assert records, "a stream that carried bytes carried TLS records and nothing else"
        kind, versions = capture.hello_versions(stream)
        if kind == capture.SERVER_HELLO or not {source_port, target_port} & CONTROL_PORTS:
            # gRPC's client offers 1.2 to the control plane, too, and never gets it; sidecars do not even offer it.
            assert versions == {TLS_1_3}, f"hello {kind} says {[hex(version) for version in versions]}"
        if ports_of_services & {source_port, target_port}:
            hellos[kind] += 1
    assert hellos[capture.CLIENT_HELLO] >= 2, "new connections between sidecars are in the capture"
    assert hellos[capture.SERVER_HELLO] >= 2


def test_02_the_same_search_finds_the_card_where_it_may_be(lab: Lab) -> None:
    """The proof that test 1 could fail: on the loopback, behind the sidecar, the number is in plain sight."""
    with captured(lab, "payment-1", "lo") as found:
        for _ in range(4):
            assert lab.order().status == 201
    (loopback,) = found
    assert CARD.encode() in loopback.raw


def test_03_plaintext_to_a_mesh_port_gets_nothing(lab: Lab) -> None:
    script = (
        "import socket, sys\n"
        "s = socket.create_connection((sys.argv[1], 8080), 5)\n"
        "s.sendall(b'GET /charges HTTP/1.1\\r\\nhost: payment-service\\r\\n\\r\\n')\n"
        "s.settimeout(5)\n"
        "try: data = s.recv(4096)\n"
        "except ConnectionError: data = b''\n"
        "print(b'HTTP' in data or b'[' in data)\n"
    )
    before = lab.accepted("payment-1")
    done = lab.python("stranger-1", script, lab.driver.address_of("payment-1"))
    assert done.stdout.strip() == "False", done
    assert lab.accepted("payment-1") == before
