"""Network behaviour: what signals make of the term B of the score. Pure; every signal speaks against the node."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from authority.trust.behaviour_rules import BehaviourRules
from protocol.signals import Severity

FULL = 1000
_UNIT = 1_000_000


class Origin(StrEnum):
    """Who says so: the node itself, another node, a tap or SIEM with a token, or an operator."""

    SELF = "self"
    PEER = "peer"
    TAP = "tap"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Signal:
    """One signal that has been recorded: POSIX seconds, `confidence` in thousandths.

    `reporter` is the identity that the connection proved. It counts until `until`; an operator's has no end.
    """

    origin: Origin
    reporter: str
    kind: str
    severity: Severity
    confidence: int
    at: float
    until: float = math.inf


@dataclass(frozen=True)
class Conduct:
    """Value of the behaviour term in thousandths, the kinds that lower it, and whether hostility is confirmed."""

    value: int = FULL
    kinds: tuple[str, ...] = ()
    hostile: bool = False


UNBLEMISHED = Conduct()


def conduct(rules: BehaviourRules, signals: Sequence[Signal], now: float) -> Conduct:
    """What is left of a node's behaviour at `now`.

    A kind counts once, by its heaviest signal, and kinds multiply: `value = 1000 · Π (1 - loss)`. A loss is the
    severity's, times the confidence, halved every half-life since it was observed. Peers' signals of a kind count as
    the `peer_quorum`-th heaviest of as many distinct peers, so that one who exaggerates moves nothing. One more
    signal never raises the value, and no signal's absence does before its time.
    """
    live = [each for each in signals if each.at <= now < each.until]
    losses = {kind: _loss(rules, [each for each in live if each.kind == kind], now) for kind in _kinds(live)}
    value = FULL * _UNIT
    for kind in sorted(losses):
        value = value * (_UNIT - losses[kind]) // _UNIT
    named = tuple(kind for kind in sorted(losses) if losses[kind] * FULL >= _UNIT)
    return Conduct(value // _UNIT, named, any(_confirms(rules, each) for each in live))


def dominates(one: Signal, other: Signal) -> bool:
    """Whether `other` says nothing beside `one`: same reporter and kind, and in no respect more, now or later."""
    same = (one.origin, one.reporter, one.kind) == (other.origin, other.reporter, other.kind)
    severe = one.severity.rank >= other.severity.rank and one.confidence >= other.confidence
    return same and severe and one.at >= other.at and one.until >= other.until


def _kinds(signals: Iterable[Signal]) -> set[str]:
    return {each.kind for each in signals}


def _loss(rules: BehaviourRules, signals: Sequence[Signal], now: float) -> int:
    """Millionths that one kind takes."""
    trusted = [_weight(rules, each, now) for each in signals if each.origin is not Origin.PEER]
    return max([*trusted, _peers_loss(rules, signals, now)])


def _peers_loss(rules: BehaviourRules, signals: Sequence[Signal], now: float) -> int:
    heaviest: dict[str, int] = {}
    for each in signals:
        if each.origin is Origin.PEER:
            heaviest[each.reporter] = max(heaviest.get(each.reporter, 0), _weight(rules, each, now))
    agreed = sorted(heaviest.values(), reverse=True)[: rules.peer_quorum]
    return agreed[-1] if len(agreed) == rules.peer_quorum else 0


def _weight(rules: BehaviourRules, signal: Signal, now: float) -> int:
    halvings = 0.0 if signal.origin is Origin.OPERATOR else (now - signal.at) / rules.half_life_s
    return round(rules.loss(signal.severity) * signal.confidence * math.pow(0.5, halvings))


def _confirms(rules: BehaviourRules, signal: Signal) -> bool:
    """An operator's word, or a tap's where the policy takes it: for as long as the signal lives, without fading."""
    if signal.severity is not Severity.CRITICAL:
        return False
    if signal.origin is Origin.OPERATOR:
        return True
    tap = signal.origin is Origin.TAP and rules.tap_confirms
    return tap and signal.confidence >= rules.hostile_confidence
