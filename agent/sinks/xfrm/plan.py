"""What a bundle means for the kernel's tables, and what to change so that they say it. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from agent.sinks.xfrm.client import Held
from agent.sinks.xfrm.constants import ESP, Action, Mode, PolicyDirection
from agent.sinks.xfrm.layouts import IpAddress, IpNetwork, Selector, everything, host, parse
from agent.sinks.xfrm.options import XfrmOptions
from agent.sinks.xfrm.policies import Policy, Template, blocking
from agent.sinks.xfrm.states import HeldState, StateId, WantedState, fingerprint
from protocol.delivery import Association, Direction, KeyBundle, Peer
from protocol.esp import esp_keys

REQID_MARK = 0x4B
"""The highest byte of every reqid of ours; other programs count theirs up from 1."""
PREFIX_REQID = REQID_MARK << 24
"""Of the policies that protect whole prefixes, which belong to no network."""
NAMELESS = "reqid-"
"""What a network is called whose name was lost: this, then its reqid in eight hexadecimal digits."""
_SLACK_S = 1


class Unfit(ValueError):
    """Something of a bundle that cannot be installed, in a sentence."""


@dataclass
class Wanted:
    """What the kernel shall hold of one network; `unfit` tells what of the bundle could not be turned into it."""

    reqid: int
    states: dict[StateId, WantedState] = field(default_factory=dict)
    outbound: set[StateId] = field(default_factory=set)
    policies: dict[tuple[PolicyDirection, Selector, bool], Policy] = field(default_factory=dict)
    unfit: list[str] = field(default_factory=list)


@dataclass
class Changes:
    """Steps in the order in which they are taken; an outbound state is of no use to anyone before `switches`.

    `used` are the fingerprints of outbound keys to be recorded between `add` and `switches`; `unfit` and `lost` tell in
    sentences what is left out, the latter since it was sent under before.
    """

    guards: list[Policy] = field(default_factory=list)
    replace: list[StateId] = field(default_factory=list)
    add: list[WantedState] = field(default_factory=list)
    extend: list[tuple[WantedState, int]] = field(default_factory=list)
    used: list[bytes] = field(default_factory=list)
    switches: list[Policy] = field(default_factory=list)
    drop_policies: list[Policy] = field(default_factory=list)
    drop_states: list[StateId] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def network_reqid(network: str) -> int:
    """The reqid of a network: the mark, then 24 bits of its name's hash, never 0 there."""
    digest = hashlib.sha256(b"keyvigil/reqid/1" + network.encode()).digest()
    return PREFIX_REQID | max(1, int.from_bytes(digest[:3], "big"))


def reqid_of(network: str) -> int:
    """The reqid of a network by its name, or by what stands for a name that was lost."""
    digits = network.removeprefix(NAMELESS)
    if digits != network and re.fullmatch("[0-9a-f]{8}", digits) and is_ours(int(digits, 16)):
        return int(digits, 16)
    return network_reqid(network)


def is_ours(reqid: int) -> bool:
    """Whether a state or policy with this reqid was made by this sink."""
    return reqid >> 24 == REQID_MARK


def wanted(bundle: KeyBundle, options: XfrmOptions, now: float) -> Wanted:
    """States and policies of a bundle; an association that does not fit leaves out itself alone."""
    found = Wanted(network_reqid(bundle.network))
    add_prefixes(found, options)
    peers = {peer.node_id: peer for peer in bundle.peers}
    sending = _sending(bundle.associations, now)
    for association in bundle.associations:
        if association.direction is Direction.INBOUND or association is sending[association.peer]:
            _admit(found, bundle, peers, association, options)
    if options.fail_closed:
        _guard_members(found, bundle, options)
    return found


def add_prefixes(found: Wanted, options: XfrmOptions) -> None:
    """Policies for the prefixes that the configuration protects."""
    for text in options.protect:
        prefix = ipaddress.ip_network(text)
        for policy in _around(prefix, options.priority + 2, PREFIX_REQID):
            found.policies[policy.place] = policy


def compare(want: Wanted, held: Held, used: Collection[bytes], options: XfrmOptions) -> Changes:
    """From what the kernel holds to what it shall hold."""
    changes = Changes(unfit=list(want.unfit))
    _compare_states(changes, want, held, used)
    _compare_policies(changes, want, held, options)
    return changes


def _sending(associations: Iterable[Association], now: float) -> dict[str, Association]:
    """By peer, the outbound association to send under: the last whose time has come, or else the first to come."""
    chosen: dict[str, Association] = {}
    for one in sorted(associations, key=lambda association: association.not_before):
        if one.direction is Direction.OUTBOUND and (one.peer not in chosen or one.not_before <= now):
            chosen[one.peer] = one
    return chosen


def _admit(
    found: Wanted, bundle: KeyBundle, peers: dict[str, Peer], association: Association, options: XfrmOptions
) -> None:
    try:
        link = _link(bundle, peers.get(association.peer), association)
    except ValueError as error:
        found.unfit.append(f"{association.peer_name}: {error}")
        return
    state = link.state(association, bundle.expires_at, found.reqid, options.replay_window)
    if state.id in found.states:
        found.unfit.append(f"{association.peer_name}: its state {state.id} is another one's too")
        return
    found.states[state.id] = state
    if association.direction is Direction.OUTBOUND:
        found.outbound.add(state.id)
    for policy in link.policies(association, found.reqid, options.priority):
        found.policies[policy.place] = policy


@dataclass(frozen=True)
class _Link:
    """From the source's addresses to the destination's."""

    source: IpAddress
    source_endpoint: IpAddress
    destination: IpAddress
    destination_endpoint: IpAddress

    @property
    def mode(self) -> Mode:
        """Transport where the addresses of the network are those that packets go to anyway."""
        direct = self.source == self.source_endpoint and self.destination == self.destination_endpoint
        return Mode.TRANSPORT if direct else Mode.TUNNEL

    @property
    def selector(self) -> Selector:
        """The packets between the two addresses of the network."""
        return Selector(host(self.source), host(self.destination))

    def state(self, association: Association, expires_at: float, reqid: int, window: int) -> WantedState:
        """The state of an association."""
        name = StateId(self.destination_endpoint, association.spi)
        key = esp_keys(association.key)
        return WantedState(name, self.source_endpoint, self.mode, self.selector, reqid, window, expires_at, key)

    def policies(self, association: Association, reqid: int, priority: int) -> list[Policy]:
        """Outbound names the SPI, so that the kernel never chooses; inbound takes every state of the network."""
        out = association.direction is Direction.OUTBOUND
        spi = association.spi if out else 0
        template = Template(self.source_endpoint, self.destination_endpoint, spi, reqid, self.mode)
        return [
            Policy(direction, self.selector, Action.ALLOW, priority, template)
            for direction in _directions(self.mode, out=out)
        ]


def _directions(mode: Mode, *, out: bool) -> list[PolicyDirection]:
    if out:
        return [PolicyDirection.OUT]
    return [PolicyDirection.IN] + ([PolicyDirection.FWD] if mode is Mode.TUNNEL else [])


def _link(bundle: KeyBundle, peer: Peer | None, association: Association) -> _Link:
    if peer is None:
        raise Unfit("the delivery does not say where it is")
    if not association.spi:
        raise Unfit("the association has no SPI")
    own = _place(bundle.address, bundle.endpoint, "this node")
    other = _place(peer.address, peer.endpoint, "the peer")
    source, destination = (own, other) if association.direction is Direction.OUTBOUND else (other, own)
    link = _Link(*source, *destination)
    if link.source.version != link.destination.version:
        raise Unfit("one address of the network is IPv4, the other IPv6")
    if link.source_endpoint.version != link.destination_endpoint.version:
        raise Unfit("one endpoint is IPv4, the other IPv6")
    return link


def _place(address: str, endpoint: str, whose: str) -> tuple[IpAddress, IpAddress]:
    if not address or not endpoint:
        raise Unfit(f"the mapping names no address or no endpoint of {whose}")
    return parse(address), parse(endpoint)


def _guard_members(found: Wanted, bundle: KeyBundle, options: XfrmOptions) -> None:
    """Under the policies that encrypt: nothing to or from a member's address goes in clear."""
    for peer in bundle.peers:
        try:
            own = _place(bundle.address, bundle.endpoint, "this node")
            other = _place(peer.address, peer.endpoint, "the peer")
        except ValueError:
            continue
        if _Link(*own, *other).mode is Mode.TUNNEL:
            guards = _around(host(other[0]), options.priority + 1, found.reqid)
        else:
            guards = _between(host(own[0]), host(other[0]), options.priority, found.reqid)
        for guard in guards:
            found.policies.setdefault(guard.place, guard)


def _around(prefix: IpNetwork, priority: int, reqid: int) -> list[Policy]:
    """Nothing goes to or comes from a prefix."""
    rest = everything(prefix.version)
    return [
        blocking(PolicyDirection.OUT, Selector(rest, prefix), priority, reqid),
        blocking(PolicyDirection.IN, Selector(prefix, rest), priority, reqid),
        blocking(PolicyDirection.FWD, Selector(prefix, rest), priority, reqid),
    ]


def _between(own: IpNetwork, other: IpNetwork, priority: int, reqid: int) -> list[Policy]:
    """Nothing goes between two addresses; other addresses of either, and multicast, are left alone."""
    return [
        blocking(PolicyDirection.OUT, Selector(own, other), priority, reqid),
        blocking(PolicyDirection.IN, Selector(other, own), priority, reqid),
    ]


def _compare_states(changes: Changes, want: Wanted, held: Held, used: Collection[bytes]) -> None:
    there = {state.id: state for state in held.states if state.protocol == ESP and not state.marked}
    for name, state in want.states.items():
        _compare_state(changes, want, state, there.get(name), used)
    _shut_early(changes, want, held)
    changes.drop_states = [
        name for name, state in there.items() if state.reqid == want.reqid and name not in want.states
    ]


def _shut_early(changes: Changes, want: Wanted, held: Held) -> None:
    """A policy that names an outbound state which is yet to be made would send under it before its key is recorded."""
    coming = {state.id for state in changes.add if state.id in want.outbound}
    for policy in held.policies:
        template = policy.template
        if template is None or (policy.reqid, policy.action) != (want.reqid, Action.ALLOW):
            continue
        if StateId(template.destination, template.spi) in coming:
            changes.guards.append(_shut(policy))


def _compare_state(
    changes: Changes, want: Wanted, state: WantedState, there: HeldState | None, used: Collection[bytes]
) -> None:
    mark = fingerprint(state.key)
    outbound = state.id in want.outbound
    if there is not None and not is_ours(there.reqid):
        changes.unfit.append(f"another program holds the state {state.id}")
        _leave_out(want, state)
    elif there is not None and _is_same(there, state, mark):
        seconds = max(1, math.floor(state.expires_at) - there.added_at)
        if abs(seconds - there.hard_seconds) > _SLACK_S:
            changes.extend.append((state, seconds))
        changes.used += [mark] if outbound else []
    elif outbound and mark in used:
        changes.lost.append(f"the key of state {state.id} was in use here before, and its sequence numbers are lost")
        _leave_out(want, state)
    else:
        changes.replace += [state.id] if there is not None else []
        changes.add.append(state)
        changes.used += [mark] if outbound else []


def _is_same(there: HeldState, state: WantedState, mark: bytes) -> bool:
    """A kernel that keeps keys back (lockdown) is taken at the SPI's word."""
    return (
        there.fingerprint in {mark, b""}
        and there.extended
        and (there.source, there.mode, there.selector) == (state.source, state.mode, state.selector)
        and there.reqid == state.reqid
    )


def _leave_out(want: Wanted, state: WantedState) -> None:
    """Without its state, an outbound policy goes as well: nothing may be sent, in clear or otherwise."""
    for place, policy in list(want.policies.items()):
        if _names(policy, state.id, want.reqid):
            want.policies[place] = _shut(policy)


def _names(policy: Policy, state: StateId, reqid: int) -> bool:
    """Whether a policy sends under the state."""
    template = policy.template
    return (
        policy.direction is PolicyDirection.OUT
        and policy.action == Action.ALLOW
        and template is not None
        and (template.reqid, template.destination, template.spi) == (reqid, state.destination, state.spi)
    )


def _shut(policy: Policy) -> Policy:
    return blocking(policy.direction, policy.selector, policy.priority, policy.reqid)


def _compare_policies(changes: Changes, want: Wanted, held: Held, options: XfrmOptions) -> None:
    there = {policy.place: policy for policy in held.policies}
    shut = {policy.place for policy in changes.guards}
    for place, policy in want.policies.items():
        old = there.get(place)
        if old is not None and not _may_replace(old, policy):
            changes.unfit.append(f"another program, or another network, has the {old}")
        elif old != policy or place in shut:
            (changes.guards if policy.action == Action.BLOCK and old is None else changes.switches).append(policy)
    for place, policy in there.items():
        if policy.reqid in {want.reqid, PREFIX_REQID} and not policy.marked and place not in want.policies:
            _retire(changes, policy, options)


def _may_replace(old: Policy, new: Policy) -> bool:
    if old.reqid == new.reqid:
        return True
    return is_ours(old.reqid) and old.action == Action.BLOCK


def _retire(changes: Changes, policy: Policy, options: XfrmOptions) -> None:
    """A policy that the bundle has no more: where the network fails closed, what blocked goes on to block."""
    if policy.reqid == PREFIX_REQID or not options.fail_closed:
        changes.drop_policies.append(policy)
    elif policy.action == Action.ALLOW:
        changes.switches.append(_shut(policy))
