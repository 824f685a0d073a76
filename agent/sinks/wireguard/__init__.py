"""The WireGuard sink: a tunnel per peer, its preshared key from the pair's keys."""

from agent.sinks.wireguard._sink import WireGuardSink

__all__ = ["WireGuardSink"]
