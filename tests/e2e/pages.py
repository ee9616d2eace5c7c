"""What a sidecar's admin pages say. They have Envoy's shape on both: no test need know which one it asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One instance as a sidecar sees it. `requests` counts tries; `note` says why it is out or is not, where told."""

    host: str
    address: str
    is_healthy: bool  # the control plane's word
    is_ejected: bool  # the sidecar's own observation
    requests: int
    note: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as the page shows it."""

    serial: int
    uri: str
    valid_from: datetime
    expires: datetime


@dataclass(frozen=True, slots=True)
class SidecarPages:
    """The pages of one sidecar; `get` returns one as JSON."""

    get: Callable[[str], Any]

    def endpoints(self, cluster: str) -> dict[str, Endpoint]:
        """Return the endpoints of a cluster by host name; none when it has no such cluster."""
        found = [_endpoint(one) for one in self._status(cluster).get("host_statuses", ())]
        return {one.host: one for one in found}

    def limits(self, cluster: str) -> dict[str, int]:
        """Return the circuit breakers of a cluster under Envoy's names: max_requests and so on."""
        thresholds = self._status(cluster)["circuit_breakers"]["thresholds"]
        (default,) = [one for one in thresholds if one.get("priority", "DEFAULT") == "DEFAULT"]
        return {name: value for name, value in default.items() if name.startswith("max_")}

    def ejections(self, cluster: str) -> dict[str, int]:
        """Return what outlier detection of a cluster has counted: overflow, enforced_total and so on."""
        ours = self._status(cluster).get("meshyard", {}).get("outlier")
        if ours is not None:
            return {name.removeprefix("ejections_"): count for name, count in ours.items()}
        prefix = f"cluster.{cluster}.outlier_detection.ejections_"
        stats = self.get(f"stats?format=json&filter=^{re.escape(prefix)}")["stats"]
        return {one["name"].removeprefix(prefix): one["value"] for one in stats if "name" in one}

    def cluster(self, name: str) -> dict[str, Any]:
        """Return the configuration of a cluster as it was received; empty when there is none."""
        shown = self._dump("ClustersConfigDump").get("dynamic_active_clusters", ())
        return next((one["cluster"] for one in shown if one["cluster"]["name"] == name), {})

    def chain(self, listener: str, name: str) -> dict[str, Any]:
        """Return a filter chain of a listener as it was received; empty when there is none."""
        shown = self._dump("ListenersConfigDump").get("dynamic_listeners", ())
        active = [one["active_state"]["listener"] for one in shown if one["name"] == listener]
        chains = [chain for one in active for chain in one.get("filter_chains", ())]
        return next((chain for chain in chains if chain["name"] == name), {})

    def is_tcp(self, listener: str, name: str) -> bool:
        """Say whether a filter chain is one for TCP."""
        filters = self.chain(listener, name).get("filters", ())
        return any(one["name"] == "envoy.filters.network.tcp_proxy" for one in filters)

    def certificate(self) -> Certificate:
        """Return the sidecar's own certificate."""
        chains = [one["cert_chain"] for one in self.get("certs")["certificates"] if one.get("cert_chain")]
        return _certificate(chains[0][0])

    def roots(self) -> set[int]:
        """Return the serial numbers of the roots that the sidecar believes in."""
        return {int(ca["serial_number"], 16) for one in self.get("certs")["certificates"] for ca in one["ca_cert"]}

    def _status(self, cluster: str) -> dict[str, Any]:
        statuses = self.get("clusters?format=json")["cluster_statuses"]
        return next((one for one in statuses if one["name"] == cluster), {})

    def _dump(self, kind: str) -> dict[str, Any]:
        dumps = self.get("config_dump")["configs"]
        return next((one for one in dumps if one["@type"].endswith(kind)), {})


def _endpoint(one: Mapping[str, Any]) -> Endpoint:
    stats = {stat["name"]: int(stat.get("value", 0)) for stat in one.get("stats", ())}
    health = one.get("health_status", {})
    return Endpoint(
        host=one.get("hostname", ""),
        address=one["address"]["socket_address"]["address"],
        is_healthy=health.get("eds_health_status", "UNKNOWN") in ("HEALTHY", "UNKNOWN"),
        is_ejected=health.get("failed_outlier_check", False),
        requests=stats.get("rq_total", 0),
        note=one.get("meshyard", {}).get("note", ""),
    )


def _certificate(one: Mapping[str, Any]) -> Certificate:
    (uri,) = [name["uri"] for name in one["subject_alt_names"] if "uri" in name]
    return Certificate(
        serial=int(one["serial_number"], 16),
        uri=uri,
        valid_from=_moment(one["valid_from"]),
        expires=_moment(one["expiration_time"]),
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
