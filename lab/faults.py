"""What can be broken on purpose, with which options, and what each fault does. Pure; `lab.keeper` makes and ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.driver import LabError
from mesh.base.durations import format_duration, parse_duration
from mesh.base.errors import ConfigError

DEFAULT_DURATION_S = 60.0
MAX_DURATION_S = 3600.0
MAX_DELAY_S = 10.0
STOP_CONTROL_PLANE = "stop-control-plane"  # a name for `kill HOST --unit control-plane` that needs no host


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a fault: what it means to say nothing, and what may be said.

    `read` raises ValueError with what would be right; the answer goes to the host as `key`.
    """

    name: str
    key: str
    default: str
    what: str
    read: Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by name, what it does and what one sees of it.

    One of units has the order that makes it and the one that undoes it; the others are of packets.
    """

    name: str
    what: str
    seen: str
    options: tuple[Option, ...] = ()
    orders: tuple[str, str] | None = None

    @property
    def needs_unit(self) -> bool:
        """Say whether it is done to one unit of a host."""
        return self.orders is not None


@dataclass(frozen=True, slots=True)
class Order:
    """One fault on one host for a while, checked. `values` is what its options came to: seconds, per cent."""

    fault: str
    host: str
    duration_s: float
    unit: str = ""
    values: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        """Return what people call it: `kill pulse-1 agent`."""
        return " ".join(part for part in (self.fault, self.host, self.unit) if part)

    @property
    def place(self) -> str:
        """Return what only one fault at a time can have: a unit of a host, or one kind of fault of a host's packets."""
        return f"{self.host}.{self.unit}" if self.unit else f"{self.host}.{self.fault}"

    @property
    def text(self) -> str:
        """Return the sentence about it."""
        options = {option.key: option for option in FAULTS[self.fault].options}
        said = [f"{options[key].name} {_written(key, value)}" for key, value in self.values if value]
        return f"{FAULTS[self.fault].what} ({', '.join([f'{self.host} {self.unit}'.strip(), *said])})"


def _delay(text: str) -> float:
    seconds = _seconds(text)
    if not 0.001 <= seconds <= MAX_DELAY_S:
        raise ValueError(f"a delay is at least 1ms and at most {format_duration(MAX_DELAY_S)}")
    return seconds


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ConfigError as error:
        raise ValueError(error.right or error.explain()) from None


def _percent(text: str) -> float:
    try:
        share = float(text.removesuffix("%"))
    except ValueError:
        raise ValueError("a share is a number of per cent, such as 30") from None
    if not 0 < share <= 100:
        raise ValueError("a share is more than 0 and at most 100 per cent")
    return share


def _written(key: str, value: float) -> str:
    return f"{value:g}%" if key == "percent" else format_duration(value)


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(
            "cut",
            "the host's cable carries nothing in either direction",
            "one call waits its 15 s; then, and after 10 s without heartbeat for good, the others take all calls",
        ),
        Fault(
            "delay",
            "what is sent to the host arrives late, so every round trip with it takes as much longer",
            "ping is that much slower, and a call is by each round trip it needs: two, when its application calls on",
            (
                Option("by", "by_s", "100ms", "how much later", _delay),
                Option("jitter", "jitter_s", "0", "by how much more or less, each packet anew", _seconds),
            ),
        ),
        Fault(
            "loss",
            "a share of the host's packets is lost, in each direction",
            "at 30 per cent half of all pings come back; TCP repeats what is lost, so calls come late and none fails",
            (Option("percent", "percent", "30", "which share of the packets, in per cent", _percent),),
        ),
        Fault(
            "kill",
            "one unit is killed and stays dead",
            "app, sidecar: the other instance takes all calls; agent: the application knows no names any more",
            orders=("stop-now", "start"),
        ),
        Fault(
            "pause",
            "one unit is frozen and keeps its sockets open",
            "connections are taken and never answered: one call waits its 15 s, then the health check has it out",
            orders=("pause", "resume"),
        ),
        Fault(
            "refuse",
            "the application's port refuses connections of its sidecar",
            "calls are repeated at another instance; without one, 503",
        ),
        Fault(
            "reset",
            "the application's connections are reset once the sidecar has sent the request",
            "what may be repeated is repeated; a POST without an idempotency key gets a 503, it may have been done",
        ),
    )
}


def order(fault: str, host: str, *, duration_s: float, options: Mapping[str, str]) -> Order:
    """Check what was asked for.

    Args:
        fault: by name.
        host: where; whether there is such a host is not known here.
        duration_s: for how long.
        options: by the names of the command line; an empty text means that nothing was said.

    Raises:
        LabError: there is no such fault or option, or a value makes no sense (exit code 2).
    """
    if fault not in FAULTS:
        raise LabError(f"no fault {fault!r}; there are: {', '.join(FAULTS)}", exit_code=2)
    if not 0 < duration_s <= MAX_DURATION_S:
        raise LabError(f"--for {format_duration(duration_s)}: a fault lasts more than 0 s and at most 1h", exit_code=2)
    table, said = FAULTS[fault], {name: text for name, text in options.items() if text}
    unit = said.pop("unit", "")
    if table.needs_unit != bool(unit):
        raise LabError(f"{fault} {'needs' if table.needs_unit else 'takes no'} --unit", exit_code=2)
    known = {option.name for option in table.options}
    for name in said:
        if name not in known:
            raise LabError(f"{fault} takes no --{name}", exit_code=2)
    values = tuple((option.key, _value(option, said.get(option.name, option.default))) for option in table.options)
    made = Order(fault, host, duration_s, unit, values)
    if fault == "delay" and dict(values)["jitter_s"] > dict(values)["by_s"]:
        raise LabError("--jitter is more than --by: nothing arrives before it was sent", exit_code=2)
    return made


def _value(option: Option, text: str) -> float:
    try:
        return option.read(text)
    except ValueError as error:
        raise LabError(f"--{option.name} {text}: {error}", exit_code=2) from None


def order_from_json(raw: Mapping[str, Any]) -> Order:
    """Return an order that was written with `dataclasses.asdict` and JSON.

    Raises:
        KeyError, TypeError, ValueError: it was not.
    """
    values = tuple((str(key), float(value)) for key, value in raw["values"])
    return Order(str(raw["fault"]), str(raw["host"]), float(raw["duration_s"]), str(raw["unit"]), values)
