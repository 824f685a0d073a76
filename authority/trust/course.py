"""A node's course: what its history makes of it at any moment. Pure; authority and replay share it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from authority.trust.behaviour import Signal, conduct
from authority.trust.policy import Policy
from authority.trust.score import Circumstances, Presentation, PresentationKind, assess, speed_value
from authority.trust.states import Facts, OperatorAction, TransitionRefused, next_state, ordered_state
from authority.trust.tiers import tier_of
from protocol.levels import EnclaveKind, NodeState, Tier

HISTORY = 64
"""Presentations that a score looks back on."""


@dataclass(frozen=True)
class Performed:
    """A presentation with what it came from, so that another policy can weigh its time again."""

    presentation: Presentation
    elapsed_s: float | None = None
    modalities: tuple[str, ...] = ()

    def under(self, policy: Policy) -> Presentation:
        """As `policy` would have entered it; without its time, as it was entered."""
        if self.presentation.kind is not PresentationKind.ACCEPTED or self.elapsed_s is None:
            return self.presentation
        return replace(self.presentation, speed=speed_value(policy, self.elapsed_s, self.modalities))


@dataclass(frozen=True)
class Order:
    """What an operator ordered, and when."""

    at: float
    action: OperatorAction


@dataclass(frozen=True)
class Story:
    """Everything that happened to a node, oldest first. `failed_attestations` are the moments of failures."""

    performed: Sequence[Performed] = ()
    orders: Sequence[Order] = ()
    signals: Sequence[Signal] = ()
    failed_attestations: Sequence[float] = ()
    enclave: str = EnclaveKind.TPM2.value
    owned: bool = True


@dataclass(frozen=True)
class Point:
    """Where a node stood at a moment."""

    at: float
    score: int
    tier: Tier
    state: NodeState
    explanation: str = ""


@dataclass(frozen=True)
class _Standing:
    state: NodeState = NodeState.PENDING
    counted_after: int = 0


def facts(kinds: Sequence[PresentationKind], tier: Tier, *, overdue: bool) -> Facts:
    """From the kinds that count, newest first.

    A missed summons ends a row of acceptances, and neither ends nor lengthens a row of failures.
    """
    accepted = takewhile(lambda kind: kind is PresentationKind.ACCEPTED, kinds)
    since = takewhile(lambda kind: kind is not PresentationKind.ACCEPTED, kinds)
    failed = [kind for kind in since if kind is PresentationKind.FAILED]
    return Facts(tier, len(failed), len([*accepted]), overdue)


def follow(policy_at: Callable[[float], Policy], story: Story, moments: Iterable[float]) -> Iterator[Point]:
    """Where the node stands after everything up to each of `moments`, which ascend.

    Overdue machine attestations are not part of a story: they are not kept.
    """
    standing = _Standing()
    events = sorted({*_moments(story)})
    done = 0
    for moment in moments:
        while done < len(events) and events[done] < moment:
            standing, _ = _step(policy_at(events[done]), story, standing, events[done])
            done += 1
        standing, point = _step(policy_at(moment), story, standing, moment)
        done += done < len(events) and events[done] == moment
        yield point


def _moments(story: Story) -> Iterator[float]:
    yield from (each.presentation.at for each in story.performed)
    yield from (each.at for each in story.orders)
    yield from (each.at for each in story.signals)
    yield from story.failed_attestations


def _step(policy: Policy, story: Story, before: _Standing, now: float) -> tuple[_Standing, Point]:
    history = [each.under(policy) for each in story.performed if each.presentation.at <= now]
    standing = _ordered(story, before, history, now)
    ordered = standing is not before
    counted = [each.kind for each in history[standing.counted_after :]]
    around = Circumstances(
        attestation_failed=_attestation_failed(story, history, now),
        enclave=story.enclave,
        owned=story.owned,
        recovering=standing.state is NodeState.ISOLATED
        or (standing.counted_after > 0 and PresentationKind.ACCEPTED not in counted),
        conduct=conduct(policy.behaviour, story.signals, now),
    )
    assessment = assess(policy, history[-HISTORY:], around, now)
    tier = tier_of(assessment.score)
    known = facts(counted[::-1], tier, overdue=assessment.missed_last or assessment.stale)
    state = standing.state if ordered else next_state(standing.state, known, policy.isolation)
    moved = state is not standing.state and NodeState.ISOLATED in {state, standing.state}
    after = _Standing(state, len(history) if moved else standing.counted_after)
    return after, Point(now, assessment.score, tier, state, assessment.explanation)


def _ordered(story: Story, standing: _Standing, history: Sequence[Presentation], now: float) -> _Standing:
    """After the orders of exactly this moment; one that the state does not allow was none."""
    presented = any(each.kind is PresentationKind.ACCEPTED for each in history)
    for order in story.orders:
        if order.at == now:
            try:
                state = ordered_state(standing.state, order.action, presented=presented)
            except TransitionRefused:
                continue
            if state is not standing.state:
                standing = _Standing(state, len(history))
    return standing


def _attestation_failed(story: Story, history: Sequence[Presentation], now: float) -> bool:
    failed = max((at for at in story.failed_attestations if at <= now), default=None)
    accepted = (each.at for each in history if each.kind is PresentationKind.ACCEPTED)
    return failed is not None and failed >= max(accepted, default=failed)
