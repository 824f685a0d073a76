"""The whole evaluation of one folder: acquire, compare, and everything that the report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from agent.biometrics import Modality, Pipeline, make_pipeline
from agent.evaluation import discard, rates, sections, single, sounds
from agent.evaluation.acquiring import Acquisition, Notes, Subject, qualities
from agent.evaluation.attempts import Trials
from agent.evaluation.bootstrap import Plan
from agent.evaluation.discard import Curve
from agent.evaluation.errors import EvaluationError
from agent.evaluation.folder import Folder, read_folder
from agent.evaluation.materials import suffixes
from agent.evaluation.operational import Operation, Outcome
from agent.evaluation.progress import Watcher
from agent.evaluation.recommend import Recommendation, recommend
from agent.evaluation.settings import Settings
from agent.evaluation.through_profile import through_profile

TARGETS = (0.01, 0.001, 0.0001)
SINGLE_DISCARD_FMR = (0.001, 0.01)
"""The curves of single pairs stand at the threshold of the first of these FMRs that the pairs resolve."""


@dataclass(frozen=True)
class Request:
    """What is to be evaluated. `impostors` is a further folder of strangers.

    With `through_profile` the operational decision is that of sealing a profile and unlocking it.
    """

    modality: Modality
    directory: Path
    settings: Settings
    impostors: Path | None = None
    wanted_fmr: float = 0.001
    replicates: int = 1000
    through_profile: bool = False

    @property
    def seed(self) -> int:
        """What fixes every random choice."""
        return self.settings.operational.seed


@dataclass(frozen=True, eq=False)
class Discards:
    """Curves at one threshold, and where that comes from."""

    threshold: float
    origin: str
    curves: list[Curve]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that was measured."""

    request: Request
    pipeline: Pipeline[Any]
    folder: Folder
    impostors: Folder | None
    subjects: list[Subject]
    notes: Notes
    single: Trials
    operational: Outcome
    plan: Plan
    discards: Mapping[str, Discards]
    recommendation: Recommendation | None
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def evaluate(request: Request, watcher: Watcher, pipeline: Pipeline[Any] | None = None) -> Evaluation:
    """Evaluate the production pipeline, or `pipeline`, on the request's folder.

    Raises `EvaluationError` where folder or samples do not allow it, `BiometricError` for what the pipeline lacks.
    """
    folder, impostors = _folders(request)
    pipeline = pipeline or make_pipeline(request.modality, request.settings.pipeline)
    pipeline.warm_up()
    acquisition = Acquisition(pipeline, request.settings, request.seed, watcher)
    own = acquisition.subjects(folder)
    strangers = acquisition.subjects(impostors, strangers=True) if impostors else []
    subjects = [each for each in own + strangers if each.acquired]
    _require_enough(subjects, acquisition.notes)
    pairs = single.trials(pipeline, subjects, watcher)
    seal = through_profile(pipeline, np.random.default_rng(request.seed)) if request.through_profile else None
    operation = Operation(pipeline, subjects, request.settings.operational, request.seed, acquisition.notes, seal)
    outcome = operation.run(watcher)
    plan = Plan(sum(not each.stranger for each in subjects), len(subjects), request.replicates, seed=request.seed)
    return Evaluation(
        request,
        pipeline,
        folder,
        impostors,
        subjects,
        acquisition.notes,
        pairs,
        outcome,
        plan,
        _discards(subjects, pairs, outcome.trials, pipeline.threshold.accept, request),
        None if request.through_profile else _recommendation(request, pipeline, outcome, plan),
        sections.measure(request.modality, folder, request.seed, watcher),
    )


def _folders(request: Request) -> tuple[Folder, Folder | None]:
    if request.modality is Modality.VOICE:
        sounds.require_soundfile()
    wanted = suffixes(request.modality)
    folder = read_folder(request.directory, wanted)
    return folder, read_folder(request.impostors, wanted) if request.impostors else None


def _require_enough(subjects: list[Subject], notes: Notes) -> None:
    usable = [each for each in subjects if each.usable]
    if not any(not each.stranger for each in usable):
        reasons = [*notes.left_out, *notes.refusals]
        raise EvaluationError(
            f"no sample became features: {'; '.join(reasons) or 'there is none'}",
            remedy="See whether the folder holds captures of this modality; `keyvigil capture` shows how one looks.",
        )
    if len(usable) < 2:
        raise EvaluationError(
            "there is only one subject with usable samples, so nobody could be mistaken for another",
            remedy="Add subjects, or name a folder of strangers with --impostors DIR.",
        )


def _discards(
    subjects: list[Subject], pairs: Trials, attempts: Trials, accept: float, request: Request
) -> dict[str, Discards]:
    graded = qualities([each for each in subjects if not each.stranger])
    found = {}
    if len(attempts.genuine):
        genuine = attempts.genuine
        if request.through_profile:
            genuine, accept = replace(genuine, scores=genuine.accepted.astype(np.float64)), 1.0
        curves = discard.curves(genuine, accept, graded, request.seed)
        found["operational"] = Discards(accept, "profile" if request.through_profile else "production", curves)
    for target in SINGLE_DISCARD_FMR:
        if len(pairs.genuine) and rates.resolves(len(pairs.impostor), target):
            threshold = rates.threshold_at(pairs.impostor.scores, target)
            curves = discard.curves(pairs.genuine, threshold, graded, request.seed)
            found["single"] = Discards(threshold, f"FMR {target:g}", curves)
            break
    return found


def _recommendation(request: Request, pipeline: Pipeline[Any], outcome: Outcome, plan: Plan) -> Recommendation | None:
    if not len(outcome.trials.impostor):
        return None
    return recommend(outcome.trials.impostor, plan, request.wanted_fmr, pipeline.threshold.accept)
