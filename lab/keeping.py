"""The process that keeps one fault: it makes it, waits, and undoes it. `lab.keeper` starts it, detached.

    python -m lab.keeping DRIVER LAB ORDER

It answers with one line of JSON: `{"in_force": true}`, or `{"error": ..., "exit_code": ...}`. A fault of packets is a
program on the host that it holds by standard input; a fault of a unit is an order to the driver, and one that undoes
it. SIGTERM ends the fault, and so does the end of its time; the record's vanishing ends the keeper without a word.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab import choice, records
from lab.driver import Driver, LabError
from lab.faults import FAULTS, Order, order_from_json
from lab.keeper import END_TIMEOUT_S, START_TIMEOUT_S, line_of

PROGRAM = Path(__file__).parent / "onhost" / "fault.py"
IN_FORCE = "in force"  # what it says, once
# Reads the program from standard input, so that `ps` on the host shows a line and not a file.
LOADER = "import sys; exec(compile(sys.stdin.buffer.read(int(sys.argv[1])), 'fault.py', 'exec'))"
LOOK_S = 0.25  # how often to look whether the lab is still there
GRACE_S = 10.0  # the program ends by itself; so much later nobody waits for it any longer
LINE_WAIT_S = 1.0  # for the rest of a line that began
UNDO_TRIES, UNDO_PAUSE_S = 5, 1.0
EXIT_CRASHED = 70


class Keeper:
    """One fault, from its start to its end."""

    def __init__(self, driver: Driver, order: Order) -> None:
        self.driver = driver
        self.order = order
        self.told = _told()
        self.deadline = 0.0

    def run(self) -> None:
        """Make the fault, wait, undo it.

        Raises:
            LabError: it cannot be made. Whatever else is raised leaves the record to the next command, which undoes it.
        """
        path = records.path_of(self.driver.lab_name, self.order)
        with records.taken(path, self.order) as self.handle:
            self.begin(START_TIMEOUT_S)
            try:
                if FAULTS[self.order.fault].orders:
                    self.keep_unit()
                else:
                    self.keep_program()
            except LabError:
                self.drop(path)
                raise
            self.drop(path)

    def begin(self, duration_s: float) -> None:
        """Write the fault down, and when it will be over."""
        self.deadline = time.monotonic() + duration_s
        records.write(self.handle, self.order, left_s=duration_s)

    def drop(self, path: Path) -> None:
        """Remove the record; not that of somebody else."""
        if not records.is_gone(self.handle):
            path.unlink(missing_ok=True)

    def keep_unit(self) -> None:
        """Do something to a unit and undo it. A guard undoes it when this process does not live to do so."""
        does, undoes = FAULTS[self.order.fault].orders or ("", "")
        keeper = os.fork()
        if not keeper:
            self.driver.unit(self.order.host, self.order.unit, does)
            with _crashing():
                self.begin(self.order.duration_s)
                _answer({"in_force": True})
                self.wait([])
                self.undo(undoes)
            return
        _, status = os.waitpid(keeper, 0)
        code = os.waitstatus_to_exitcode(status)
        if code < 0 or code == EXIT_CRASHED:
            self.undo(undoes)
        elif code:
            os._exit(code)  # it said why, and did with the record what was right

    def undo(self, action: str) -> None:
        """Order a unit back; more than once, when what carries out orders is busy."""
        for left in reversed(range(UNDO_TRIES)):
            if records.is_gone(self.handle):
                return
            try:
                self.driver.unit(self.order.host, self.order.unit, action)
                return
            except LabError as error:
                if not left:
                    raise RuntimeError(f"healing {self.order.name}: {error}") from None
            time.sleep(UNDO_PAUSE_S)

    def keep_program(self) -> None:
        """Hold the program on the host that makes a fault of packets."""
        source = PROGRAM.read_bytes()
        wanted = {"fault": self.order.fault, "duration_s": self.order.duration_s, **dict(self.order.values)}
        wanted["address"] = self.driver.address_of(self.order.host)
        argv = ["python", "-c", LOADER, str(len(source)), json.dumps(wanted)]
        command = self.driver.command_for(self.order.host, argv, user="root")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
            try:
                self.hold(program, source)
            finally:
                _let_go(program)

    def hold(self, program: subprocess.Popen[bytes], source: bytes) -> None:
        """Hand the program over, and wait until it ends or has to."""
        assert program.stdin is not None
        assert program.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            program.stdin.write(source)
            program.stdin.flush()
        self.wait([program.stdout])
        said = line_of(program.stdout, LINE_WAIT_S)
        if said != IN_FORCE:
            raise LabError(said or f"{self.order.host} did not make the fault, and did not say why")
        self.begin(self.order.duration_s)
        _answer({"in_force": True})
        self.deadline += GRACE_S
        self.wait([program.stdout])

    def wait(self, streams: list[Any]) -> None:
        """Wait until the time is over, somebody says so, the record is gone, or a stream has something to say."""
        while (left_s := self.deadline - time.monotonic()) > 0 and not records.is_gone(self.handle):
            if select.select([self.told, *streams], [], [], min(LOOK_S, left_s))[0]:
                return


@contextlib.contextmanager
def _crashing() -> Iterator[None]:
    """Tell the guard of whatever goes wrong, by an exit code of its own."""
    try:
        yield
    except Exception:  # noqa: BLE001 - the log gets the whole of it
        traceback.print_exc()
        os._exit(EXIT_CRASHED)


def _let_go(program: subprocess.Popen[bytes]) -> None:
    """Close the program's lifeline, and wait for its end."""
    if program.stdin:
        with contextlib.suppress(BrokenPipeError):
            program.stdin.close()
    try:
        program.wait(END_TIMEOUT_S / 2)
    except subprocess.TimeoutExpired:
        program.kill()


def _told() -> int:
    """Return a descriptor that can be read once somebody sent SIGTERM; nothing else ends a keeper early."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    signal.signal(signal.SIGTERM, lambda *_: None)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    return read_end


def _answer(said: dict[str, Any]) -> None:
    """Answer whoever waits for the fault, and let go of them."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(said).encode() + b"\n")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


def main() -> None:
    """Keep one fault."""
    if os.fork():
        os._exit(0)  # nobody has to collect us
    try:
        Keeper(choice.driver(sys.argv[1], sys.argv[2]), order_from_json(json.loads(sys.argv[3]))).run()
    except (LabError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log
        _answer({"error": str(error), "exit_code": getattr(error, "exit_code", 1)})
        sys.exit(1)


if __name__ == "__main__":
    main()
