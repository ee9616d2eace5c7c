"""Runs on a host as root: looks for byte strings in everything the host can write and in what its processes show.

stdin: {"needles": [hex], "memory_of": [process ids]}; stdout: {"searched": [where], "found": [[where, needle]]}.
Only file systems of the host's own are searched. What lies on the device of `/` is the machine's, and read-only here,
unless the mesh keeps its files there, too: then the host is a machine.
"""

import json
import os
import stat
import sys

ask = json.load(sys.stdin)
needles = [bytes.fromhex(needle) for needle in ask["needles"]]
not_ours = {os.stat("/").st_dev} - {os.stat("/var/log/mesh").st_dev}
searched, found = [], []


def look(where, content):
    searched.append(where)
    found.extend([where, needle.hex()] for needle in needles if needle in content)


def files():
    for top in ("/run", "/var/lib", "/var/log", "/etc", "/tmp", "/root", "/home"):
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if is_ours(os.path.join(folder, name))]
            for name in names:
                path = os.path.join(folder, name)
                if is_ours(path) and stat.S_ISREG(os.lstat(path).st_mode):
                    yield path


def is_ours(path):
    try:
        return os.lstat(path).st_dev not in not_ours
    except FileNotFoundError:
        return False


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def memory(pid):
    """Yield the writable memory of a process: what it knows, in whatever form."""
    regions = [line.split() for line in read(f"/proc/{pid}/maps").decode().splitlines()]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for region in regions:
            begin, end = (int(part, 16) for part in region[0].split("-"))
            if "rw" in region[1] and region[-1] not in ("[vvar]", "[vsyscall]"):
                try:
                    file.seek(begin)
                    yield file.read(end - begin) or b""
                except OSError:
                    continue


for path in files():
    look(path, read(path))
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) != os.getpid():
        for page in ("environ", "cmdline"):
            look(f"/proc/{pid}/{page}", read(f"/proc/{pid}/{page}"))
for pid in ask["memory_of"]:
    for part in memory(pid):
        look(f"memory of {pid}", part)
print(json.dumps({"searched": searched, "found": found}))
