"""Words that Consul knows and Meshyard does not: they are refused by name, so that nobody waits for an effect."""

from __future__ import annotations

# Kinds of config entries (consul agent/structs/config_entry.go).
KINDS = frozenset(
    {
        "api-gateway",
        "control-plane-request-limit",
        "exported-services",
        "file-system-certificate",
        "http-route",
        "ingress-gateway",
        "inline-certificate",
        "jwt-provider",
        "mesh",
        "sameness-group",
        "service-resolver",
        "service-splitter",
        "tcp-route",
        "terminating-gateway",
    }
)

# Keys at the top of Consul's agent files, without underscores. Meshyard's agent and control plane have files of their
# own, in JSON.
AGENT_KEYS = frozenset(
    {
        "acl",
        "addresses",
        "advertiseaddr",
        "autoconfig",
        "autoencrypt",
        "bindaddr",
        "bootstrap",
        "bootstrapexpect",
        "cafile",
        "check",
        "checks",
        "clientaddr",
        "connect",
        "datacenter",
        "datadir",
        "dnsconfig",
        "domain",
        "enablecentralserviceconfig",
        "enablelocalscriptchecks",
        "enablescriptchecks",
        "encrypt",
        "keyfile",
        "leaveonterminate",
        "limits",
        "loglevel",
        "nodemeta",
        "nodename",
        "performance",
        "ports",
        "primarydatacenter",
        "recursors",
        "retryjoin",
        "server",
        "telemetry",
        "tls",
        "ui",
        "uiconfig",
        "verifyincoming",
        "verifyoutgoing",
        "watches",
    }
)
