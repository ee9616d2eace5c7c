#!/bin/sh
# From a fresh clone to .venv/bin/lab: the machine's packages where it may, the project's own from a locked list.
# Safe to run again; does nothing when nothing is missing. PYTHON= chooses the interpreter, PYTHONS= those that are
# looked at. OFFLINE=1 fetches nothing and takes the packages from a bundle (BUNDLE=, made by `make bundle`). LAB= says
# what kind of hosts there will be: only the namespaces of this machine need programs of it.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"
umask 022 # the lab's other users run what is installed here

say() { echo "bootstrap: $*" >&2; }
is_offline() { case "${OFFLINE:-0}" in 0 | "") return 1 ;; esac; }

# 1. Programs of the machine. `$1` = "test" asks for those that only the tests use, too.
missing=""
need() { command -v "$1" >/dev/null 2>&1 || case " $missing " in *" $2 "*) ;; *) missing="$missing $2" ;; esac; }
is_linux() { [ "$(uname -s)" = Linux ]; }
# Which driver: what LAB= says, else what the lab was started with (lab/choice.py notes it), else what suits this system.
driver="${LAB:-$(cat ".lab/${LAB_NAME:-default}.driver" 2>/dev/null || true)}"
driver="${driver:-$(is_linux && echo netns || echo compose)}"
if [ "$driver" = netns ] && is_linux; then # what the others need beside Python is not apt's to bring: `lab check` says it
  need unshare util-linux
  need setpriv util-linux
  need ip iproute2
  need iptables-restore iptables
  need ip6tables-restore iptables
  [ "$(id -u)" = 0 ] || need newuidmap uidmap
fi
if [ "${1:-}" = test ] && is_linux; then
  need tcpdump tcpdump
  need ps procps
  need ping iputils-ping
  need ruby ruby # the Vagrantfile is read as Vagrant reads it
  need systemd-analyze systemd # units are read as systemd reads them
  need qemu-img qemu-utils
  need sfdisk fdisk
  need debugfs e2fsprogs
fi
# The compiled sidecar is made on this machine: by the tests, and where SIDECAR= asks for one.
compiles() { [ "${1:-}" = test ] || case "${SIDECAR:-}" in *compiled*) ;; *) return 1 ;; esac; }
if compiles "${1:-}" && is_linux; then need gcc gcc; fi

# 2. A Python that is new enough and can make virtual environments.
python=""
makes_venv() { "$1" -c 'import venv, ensurepip' 2>/dev/null; }
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }
if [ -n "${PYTHON:-}" ]; then
  fits "$PYTHON" || { say "PYTHON=$PYTHON is no Python 3.11, 3.12 or 3.13"; exit 5; }
  python="$PYTHON"
else
  # The distribution's own is the faster one: docs/decisions/distribution-python-first.md.
  for candidate in ${PYTHONS:-/usr/bin/python3 python3 python3.13 python3.12 python3.11}; do
    fits "$candidate" || continue
    python="${python:-$candidate}"
    if makes_venv "$candidate"; then
      python="$candidate"
      break
    fi
  done
fi
if [ -z "$python" ]; then
  missing="$missing python3 python3-venv"
elif ! makes_venv "$python"; then
  missing="$missing python3-venv"
fi
has_headers() { "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))'; }
# Of a Python that is not the distribution's the package has none: who has it is not asked for it again.
has_package() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q "ok installed"; }
if compiles "${1:-}" && is_linux && { [ -z "$python" ] || ! has_headers "$python"; } && ! has_package python3-dev; then
  missing="$missing python3-dev"
fi

if [ -n "$missing" ]; then
  if ! is_linux; then
    say "there is no Python 3.11, 3.12 or 3.13 with venv; install one, or name it: make PYTHON=..."
    exit 5
  fi
  install="apt-get install -y --no-install-recommends$missing"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && ! is_offline; then
    say "installing$missing"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $install >/dev/null
    python="${python:-python3}"
  else
    say "these packages are missing:$missing"
    say "install them and run make again: sudo $install"
    exit 5
  fi
fi

# 3. The virtual environment, every file of it checked against its hash. One that was copied or moved here with its
#    checkout would run the code of the place it came from; one whose making was cut short has no pip.
is_ours() { [ -L .venv ] || grep -qsF -- " $(pwd -P)/.venv" .venv/pyvenv.cfg; }
stamp=.venv/.locked
sha256() { if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi; } # macOS has the second
wanted="$(cat requirements/locked.txt pyproject.toml | sha256 | cut -d' ' -f1)"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ] || ! is_ours; then
  say "making .venv with $("$python" --version); the first time this takes about a minute"
  { is_ours && .venv/bin/python -m pip --version >/dev/null 2>&1; } || "$python" -m venv --clear .venv
  from="" # where pip looks: its own settings, or the bundle alone
  if is_offline; then
    .venv/bin/python lab/compose/archive.py "${BUNDLE:-meshyard-bundle.tar}" .lab/cache
    from="--isolated --no-index --find-links .lab/cache/wheels/checkout"
  fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check $from --require-hashes -r requirements/locked.txt
  .venv/bin/python -m pip install --quiet --disable-pip-version-check $from --no-deps --no-build-isolation -e .
  echo "$wanted" >"$stamp"
fi
