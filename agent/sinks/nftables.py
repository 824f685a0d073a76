"""Packets by the network's keys: who holds no association with this node gets nothing in or out (nftables)."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from agent.errors import ConfigError, SinkFailed
from agent.sinks._interface import HeldKeys, sink_options
from protocol.delivery import KeyBundle

_TABLE = {"family": "inet", "name": "keyvigil"}
_ISOLATION = {"family": "inet", "name": "keyvigil_isolation"}
_HOOKS = ("input", "output", "forward")
_TIMEOUT_S = 10.0


class NftablesOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The address ranges of each network, and what is left of the host when the authority cuts the node off.

    `isolate_host` drops everything but loopback and the ranges of `keep` then; the management path belongs in there.
    """

    networks: dict[Annotated[str, msgspec.Meta(min_length=1, max_length=63)], list[str]]
    isolate_host: bool = False
    keep: list[str] = []
    nft: str = "nft"


class NftablesSink:
    """The `nftables` sink: of a network's ranges, only the peers that share an association with this node pass.

    Every change is one transaction of the kernel, and the table holds all state: nothing is lost with the agent.
    """

    name = "nftables"

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = sink_options(self.name, options, NftablesOptions)
        self._ranges = {name: _ranges(f"networks.{name}", each) for name, each in self._options.networks.items()}
        self._keep = _ranges("keep", self._options.keep)
        if self._options.isolate_host and not self._keep:
            raise ConfigError(
                "sinks: the nftables sink would isolate the host from everybody, its operators too",
                remedy="Name the ranges that management comes from in `keep`, the authority's among them.",
            )

    def serves(self, network: str) -> bool:
        """Whether the network's ranges were configured."""
        return network in self._ranges

    def install(self, bundle: KeyBundle) -> None:
        """Let exactly the peers of the bundle pass, and lift an isolation of the host."""
        peers = {each.peer for each in bundle.associations}
        addresses = [peer.address for peer in bundle.peers if peer.node_id in peers and peer.address]
        self._run([*self._tables(), *self._members(bundle.network, addresses), *_lifted()])

    def clear(self, network: str) -> None:
        """Let nobody of the network pass."""
        self._run([*self._tables(), *self._members(network, [])])

    def isolate(self, network: str) -> None:
        """As `clear`; and where it is so configured, let nothing pass at all but loopback and what is kept."""
        isolation = self._isolation() if self._options.isolate_host else []
        self._run([*self._tables(), *self._members(network, []), *isolation])

    def held(self) -> list[HeldKeys]:
        """Networks of which somebody passes."""
        names = {_set_name(name, family): name for name in self._ranges for family in (4, 6)}
        counts: dict[str, int] = {}
        for each in self._listed():
            name = names.get(each.get("name", ""))
            if name is not None:
                counts[name] = counts.get(name, 0) + len(each.get("elem", []))
        return [HeldKeys(name, count, []) for name, count in sorted(counts.items()) if count]

    def stop(self) -> None:
        """Let nobody of any network pass: rules do not end with the lease by themselves."""
        self._run([*self._tables(), *(order for name in self._ranges for order in self._members(name, []))])

    def _tables(self) -> list[dict[str, Any]]:
        """Table, sets and chains as they shall be, whatever was there; the sets keep their members."""
        orders: list[dict[str, Any]] = [{"add": {"table": _TABLE}}]
        for name in self._ranges:
            for family in (4, 6):
                kind = {4: "ipv4_addr", 6: "ipv6_addr"}[family]
                orders.append({"add": {"set": _at(name=_set_name(name, family), type=kind)}})
        for hook in _HOOKS:
            orders += [
                {"add": {"chain": _at(name=hook, type="filter", hook=hook, prio=-10, policy="accept")}},
                {"flush": {"chain": _at(name=hook)}},
                *({"add": {"rule": _at(chain=hook, expr=expr)}} for expr in self._rules(hook)),
            ]
        return orders

    def _rules(self, hook: str) -> list[list[dict[str, Any]]]:
        loopback = {"input": [_interface("iifname")], "output": [_interface("oifname")], "forward": []}[hook]
        rules = [[match, {"accept": None}] for match in loopback]
        fields = {"input": ("saddr",), "output": ("daddr",), "forward": ("saddr", "daddr")}[hook]
        for name, ranges in self._ranges.items():
            for each in ranges:
                rules += [_stranger_dropped(each, field, _set_name(name, each.version)) for field in fields]
        return rules

    def _members(self, network: str, addresses: Sequence[str]) -> list[dict[str, Any]]:
        """The sets of the network with exactly these addresses; none for a network that is not configured."""
        if network not in self._ranges:
            return []
        orders: list[dict[str, Any]] = []
        for family in (4, 6):
            name = _set_name(network, family)
            mine = sorted({each for each in addresses if each and ipaddress.ip_address(each).version == family})
            orders.append({"flush": {"set": _at(name=name)}})
            if mine:
                orders.append({"add": {"element": _at(name=name, elem=mine)}})
        return orders

    def _isolation(self) -> list[dict[str, Any]]:
        orders: list[dict[str, Any]] = [*_lifted(), {"add": {"table": _ISOLATION}}]
        for hook in _HOOKS:
            chain = {"family": "inet", "table": _ISOLATION["name"], "chain": hook}
            base = {"family": "inet", "table": _ISOLATION["name"], "name": hook}
            orders.append({"add": {"chain": base | {"type": "filter", "hook": hook, "prio": -20, "policy": "drop"}}})
            orders += [{"add": {"rule": chain | {"expr": expr}}} for expr in self._kept(hook)]
        return orders

    def _kept(self, hook: str) -> list[list[dict[str, Any]]]:
        if hook == "forward":
            return []
        field, key = {"input": ("saddr", "iifname"), "output": ("daddr", "oifname")}[hook]
        return [
            [match, {"accept": None}] for match in (_interface(key), *(_within(each, field) for each in self._keep))
        ]

    def _listed(self) -> list[dict[str, Any]]:
        answer = self._run([{"list": {"sets": {"family": "inet"}}}])
        found = [each["set"] for each in answer.get("nftables", []) if isinstance(each, dict) and "set" in each]
        return [each for each in found if each.get("table") == _TABLE["name"]]

    def _run(self, orders: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """One transaction: all of the orders, or none."""
        text = json.dumps({"nftables": orders})
        command = [self._options.nft, "--json", "--file", "-"]
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except FileNotFoundError:
            raise SinkFailed(
                f"nftables sink: there is no {self._options.nft}", remedy="Install the package nftables."
            ) from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SinkFailed(f"nftables sink: nft did not run: {type(error).__name__}") from None
        if done.returncode != 0:
            cause = (done.stderr.strip().splitlines() or ["no reason given"])[0][:200]
            raise SinkFailed(
                f"nftables sink: nft refused: {cause}",
                remedy="Run the agent with CAP_NET_ADMIN, on a kernel with nf_tables.",
            )
        with contextlib.suppress(ValueError):
            return dict(json.loads(done.stdout))
        return {}


def _at(**values: Any) -> dict[str, Any]:
    return {"family": _TABLE["family"], "table": _TABLE["name"], **values}


def _set_name(network: str, family: int) -> str:
    return f"net{family}_{network}"


def _lifted() -> list[dict[str, Any]]:
    """No isolation, whether there was one or not: adding a table that is there already changes nothing."""
    return [{"add": {"table": _ISOLATION}}, {"delete": {"table": _ISOLATION}}]


def _interface(key: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": "lo"}}


def _address(network: ipaddress.IPv4Network | ipaddress.IPv6Network, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": {4: "ip", 6: "ip6"}[network.version], "field": field}}


def _within(network: ipaddress.IPv4Network | ipaddress.IPv6Network, field: str) -> dict[str, Any]:
    prefix = {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
    return {"match": {"op": "==", "left": _address(network, field), "right": prefix}}


def _stranger_dropped(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network, field: str, allowed: str
) -> list[dict[str, Any]]:
    stranger = {"match": {"op": "!=", "left": _address(network, field), "right": f"@{allowed}"}}
    return [_within(network, field), stranger, {"counter": None}, {"drop": None}]


def _ranges(option: str, texts: Sequence[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        return [ipaddress.ip_network(text) for text in texts]
    except ValueError as error:
        raise ConfigError(
            f"sinks: options of the nftables sink: {option}: {error}", remedy="Give ranges like 10.77.0.0/16."
        ) from None
