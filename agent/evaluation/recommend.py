"""A threshold for a wanted FMR, and whether the data can support it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from agent.evaluation import bootstrap, rates
from agent.evaluation.attempts import Attempts
from agent.evaluation.bootstrap import Interval, Plan

_RULE_OF_THREE = 3.0
_RULE_OF_THIRTY = 30
_RISK = 0.05


@dataclass(frozen=True)
class Recommendation:
    """The lowest threshold whose measured FMR is at most `wanted_fmr`, and how far that can be trusted.

    `fmr_upper_bootstrap` is the upper end of the 95 % interval over subjects, None without a false match, from which no
    draw can make one; `fmr_upper_by_rule` the 95 % upper
    bound when each pair of subjects counts as one trial: 3/n without a false match (rule of three; Hanley and
    Lippman-Hand 1983), the exact Poisson bound with some. `production_*` are the same of the product's own threshold.
    """

    wanted_fmr: float
    threshold: float
    threshold_interval: Interval | None
    fmr: float
    fmr_upper_bootstrap: float | None
    fmr_upper_by_rule: float
    false_matches: int
    impostor_attempts: int
    subject_pairs: int
    subjects_needed: int
    production_threshold: float
    production_fmr: float
    production_fmr_upper_by_rule: float
    supported: bool
    statement: str


def recommend(impostor: Attempts, plan: Plan, wanted: float, production: float) -> Recommendation:
    """What the impostor attempts of the operational protocol say about thresholds for an FMR of `wanted`."""
    threshold = rates.threshold_at(impostor.scores, wanted)
    matched = impostor.scores >= threshold
    replicates = bootstrap.interval(bootstrap.share(impostor, matched, plan), plan.confidence)
    pairs = impostor.subject_pairs
    upper = upper_bound(_pairs_with(impostor, threshold), pairs)
    return Recommendation(
        wanted_fmr=wanted,
        threshold=threshold,
        threshold_interval=bootstrap.interval(bootstrap.thresholds(impostor, plan, wanted), plan.confidence),
        fmr=rates.fmr(impostor.scores, threshold),
        fmr_upper_bootstrap=replicates[1] if replicates and matched.any() else None,
        fmr_upper_by_rule=upper,
        false_matches=int(matched.sum()),
        impostor_attempts=len(impostor),
        subject_pairs=pairs,
        subjects_needed=subjects_for(wanted),
        production_threshold=production,
        production_fmr=rates.fmr(impostor.scores, production),
        production_fmr_upper_by_rule=upper_bound(_pairs_with(impostor, production), pairs),
        supported=pairs * wanted >= _RULE_OF_THREE and rates.resolves(len(impostor), wanted),
        statement=_statement(impostor, wanted, pairs),
    )


def upper_bound(errors: int, trials: int) -> float:
    """The 95 % upper bound of a rate after so many errors in independent trials (Poisson); 3/n for none."""
    low, high = float(errors), errors + 5.0 + 4.0 * math.sqrt(errors + 1.0)
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _poisson_at_most(errors, middle) > _RISK else (low, middle)
    return min(1.0, high / trials) if trials else 1.0


def subjects_for(wanted: float) -> int:
    """How many subjects have 3/`wanted` pairs between them: without a false match they show that FMR at 95 %."""
    return math.ceil((1.0 + math.sqrt(1.0 + 8.0 * _RULE_OF_THREE / wanted)) / 2.0)


def _poisson_at_most(count: int, mean: float) -> float:
    terms = (
        math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) if mean else float(n == 0) for n in range(count + 1)
    )
    return sum(terms)


def _pairs_with(impostor: Attempts, threshold: float) -> int:
    """How many pairs of subjects have a false match at the threshold."""
    matched = impostor.scores >= threshold
    pairs = np.sort(np.stack([impostor.one[matched], impostor.other[matched]]), axis=0)
    return len(np.unique(pairs, axis=1).T)


def _statement(impostor: Attempts, wanted: float, pairs: int) -> str:
    needed = math.ceil(_RULE_OF_THREE / wanted)
    if not rates.resolves(len(impostor), wanted):
        return (
            f"Unresolved: an FMR of {wanted:g} needs at least {math.ceil(1 / wanted)} impostor attempts, and there are "
            f"{len(impostor)}. The threshold given is just above the highest of their scores."
        )
    if pairs < needed:
        return (
            f"Not supported: {pairs} pairs of different subjects cannot show an FMR of {wanted:g}. By the rule of "
            f"three that takes {needed} pairs without a false match, that is {subjects_for(wanted)} subjects, or as "
            f"many pairs with strangers. Take the threshold as indicative."
        )
    if pairs * wanted < _RULE_OF_THIRTY:
        return (
            f"Supported by the rule of three: {pairs} pairs of different subjects. For a figure good to 30 % (90 % "
            f"confidence, Doddington's rule of 30) {math.ceil(_RULE_OF_THIRTY / wanted)} pairs are needed."
        )
    return f"Supported: {pairs} pairs of different subjects satisfy Doddington's rule of 30 at an FMR of {wanted:g}."
