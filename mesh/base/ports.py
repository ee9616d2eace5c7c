"""Every port and well-known number of the mesh, once. docs/reference/ports.md is held equal to it by a test."""

from __future__ import annotations

# The sidecar, as in Istio (istio/istio pkg/config/constants).
SIDECAR_ADMIN = 15000  # loopback only
OUTBOUND = 15001  # what the application dials arrives here
PROBE = 15002  # the start barrier's probe passes through both listeners to this original destination
INBOUND = 15006  # what other hosts dial arrives here
# The agent.
AGENT_HTTP = 15020  # merged metrics and health; TTL checks on loopback
AGENT_DNS = 15053
# The control plane, as in Consul.
CONTROL_HTTP = 8500  # HTTP API
CONTROL_GRPC = 8502  # ADS, certificate renewal, registry: mutual TLS
CONTROL_JOIN = 8503  # the first certificate: server TLS and a one-time token

# Users, one per process of a host.
UID_CONTROL_PLANE = 1335
UID_AGENT = 1336
UID_SIDECAR = 1337  # Istio's and Envoy's habit
UID_APP = 1338
GID_WORKLOAD = 1339  # who may open the agent's socket: agent, sidecar, application

# Virtual addresses (Consul's range) and the two addresses with a meaning of their own.
VIRTUAL_RANGE = "240.0.0.0/4"
PROBE_VIP = "240.255.255.254"  # the last virtual address is never given to a service
DELIVERY_SOURCE = "127.0.0.6"  # the sidecar delivers to the application from here (Istio's InboundPassthroughBindIp)
