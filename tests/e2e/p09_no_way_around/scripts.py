"""What runs on the hosts: the attempt, the listener that would be reached, and tries at rights one does not have.

They need nothing but Python's standard library.
"""

from __future__ import annotations

# argv: kind, source, address, port. Prints one word: answer, closed, refused or silence.
DIAL = """
import socket, sys
kind, source, address, port = sys.argv[1:5]
try:
    where = socket.getaddrinfo(address, int(port), type=socket.SOCK_STREAM)[0]
    link = socket.socket(where[0], socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    link.settimeout(5)
    if source:
        link.bind((source, 0))
    link.connect(where[4])
except TimeoutError:
    sys.exit(print("silence"))
except OSError:
    sys.exit(print("refused"))
try:
    link.send(b"GET /debug/connections HTTP/1.1\\r\\nHost: way\\r\\nConnection: close\\r\\n\\r\\n")
    print("answer" if link.recv(100) else "closed")
except TimeoutError:
    print("silence")
except OSError:
    print("closed" if kind == "tcp" else "refused")
"""

# argv: a file for one line per arrival, then `family:port`. Answers whoever comes. Ends when its stdin does.
LISTEN = """
import selectors, socket, sys
arrivals = open(sys.argv[1], "a", buffering=1)
chosen = selectors.DefaultSelector()
for word in sys.argv[2:]:
    family, _, port = word.partition(":")
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        listener = socket.socket(socket.AF_INET if family == "v4" else socket.AF_INET6, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == "v6":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("0.0.0.0" if family == "v4" else "::", int(port)))
        if kind == socket.SOCK_STREAM:
            listener.listen(16)
        chosen.register(listener, selectors.EVENT_READ, word)
chosen.register(sys.stdin, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        if key.fileobj is sys.stdin:
            sys.exit()
        if key.fileobj.type == socket.SOCK_DGRAM:
            data, peer = key.fileobj.recvfrom(2000)
            key.fileobj.sendto(b"reached", peer)
        else:
            connection, peer = key.fileobj.accept()
            connection.settimeout(1)
            try:
                data = connection.recv(2000)
                connection.sendall(b"reached")
            except OSError:
                data = b""
            connection.close()
        arrivals.write(f"{key.data} from {peer[0]} {data[:20]!r}\\n")
"""

# argv: the pid of a process of another user. Prints {attempt: "ok" or the error's name} as JSON.
PRIVILEGES = """
import errno, fcntl, json, os, signal, socket, struct, subprocess, sys
pid = int(sys.argv[1])
found = {}

def attempt(name, act):
    try:
        act()
        found[name] = "ok"
    except OSError as error:
        found[name] = errno.errorcode[error.errno]

def command(name, *words):
    try:
        done = subprocess.run(words, capture_output=True, timeout=5)
        found[name] = "ok" if done.returncode == 0 else "failed"
    except OSError as error:
        found[name] = errno.errorcode[error.errno]

def in_child(act):
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, "")

def tun():
    with open("/dev/net/tun", "r+b", buffering=0) as device:
        fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"way0", 0x1002))

attempt("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).close())
attempt("raw socket v6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP).close())
attempt("packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300).close())
attempt("firewall mark", lambda: socket.socket().setsockopt(socket.SOL_SOCKET, 36, 7))
attempt("become the sidecar", lambda: in_child(lambda: os.setuid(1337)))
attempt("become root", lambda: in_child(lambda: os.setuid(0)))
attempt("the sidecar's namespaces", lambda: os.close(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)))
attempt("read the sidecar's memory", lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY)))
attempt("signal the sidecar", lambda: os.kill(pid, 0))
attempt("other name server", lambda: os.close(os.open("/etc/resolv.conf", os.O_WRONLY)))
attempt("other trust bundle", lambda: os.close(os.open("/etc/mesh/roots.pem", os.O_WRONLY)))
attempt("other bootstrap", lambda: os.close(os.open("/run/mesh/bootstrap.json", os.O_WRONLY)))
attempt("the agent's state", lambda: os.listdir("/var/lib/mesh"))
command("ping", "ping", "-c", "1", "-W", "1", "127.0.0.1")
command("see the rules", "iptables", "-S")
command("flush the rules", "iptables", "-t", "raw", "-F")
command("the kernel's switch", "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
found["no new privileges"] = "ok" if status["NoNewPrivs"].strip() == "0" else "kept"
print(json.dumps(found))
"""

# In a user namespace of its own a process is root, of nothing but that namespace.
OWN_NAMESPACE = """
import socket, sys
try:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    print("ok")
except OSError as error:
    print("refused")
"""

# A thief on a port of the sidecar: argv: the port. Prints what he was handed, or "nothing" once his stdin ends.
STEAL = """
import select, socket, sys, time
thief = socket.socket()
thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
until = time.monotonic() + 5
while True:
    try:
        thief.bind(("0.0.0.0", int(sys.argv[1])))
        break
    except OSError:
        if time.monotonic() > until:
            sys.exit("the port is not free")
        time.sleep(0.02)
thief.listen(4)
print("ready", flush=True)
if thief not in select.select([thief, sys.stdin], [], [])[0]:
    sys.exit(print("nothing"))
try:
    link, _ = thief.accept()
    link.settimeout(5)
    handed = link.recv(100)
    link.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nstolen")
    print(handed[:15].decode("latin-1"))
except OSError:
    print("nothing was said")
"""

# argv: target MAC, own interface. A frame that claims to come from the far host's own loopback.
LOOPBACK_FRAME = """
import socket, struct, sys
mac = bytes.fromhex(sys.argv[1].replace(":", ""))
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0x0800))
payload = struct.pack("!HHHH", 40000, 9090, 16, 0) + b"loopback"

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF

for source, target in (("127.0.0.6", "127.0.0.1"), (sys.argv[2], "127.0.0.1"), ("127.0.0.6", sys.argv[3])):
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, 64, 17, 0) + addresses
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    link.send(mac + link.getsockname()[4] + b"\\x08\\x00" + head + payload)
print("sent")
"""
