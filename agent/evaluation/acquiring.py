"""Every capture of a folder through the production pipeline: features are kept, captures are not."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.biometrics import BiometricError, CaptureRefused, Features, ModelError, Pipeline, Purpose, Quality
from agent.evaluation.errors import EvaluationError, LeftOut
from agent.evaluation.folder import Folder, SubjectFolder
from agent.evaluation.materials import Loader, material
from agent.evaluation.progress import Watcher
from agent.evaluation.settings import Settings

_WORK = "features"


@dataclass(frozen=True)
class Acquired:
    """One capture: its number among all, its features if verification takes it, and whether enrolment does.

    `quality` is graded as for enrolment, the stricter scale, for every capture alike.
    """

    number: int
    features: Features | None = field(repr=False)
    enrollable: bool
    quality: Quality


@dataclass(frozen=True)
class Subject:
    """One subject's captures; a `stranger` takes part in impostor attempts only."""

    name: str
    acquired: tuple[Acquired, ...]
    stranger: bool = False

    @property
    def usable(self) -> list[Acquired]:
        """The captures that became features."""
        return [each for each in self.acquired if each.features is not None]


@dataclass
class Notes:
    """What happened besides: why captures were refused, per reason, and which samples were left out of the count."""

    kinds: set[str] = field(default_factory=set)
    refusals: Counter[str] = field(default_factory=Counter)
    enrolment_refusals: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    features_ms: list[float] = field(default_factory=list)
    match_ms: list[float] = field(default_factory=list)


class Acquisition:
    """Acquires the captures of folders with one pipeline.

    A capture is examined as for enrolment first, and as for verification where that refuses it: enrolment asks for
    more of the same, and the features do not depend on the purpose.
    """

    def __init__(self, pipeline: Pipeline[Any], settings: Settings, seed: int, watcher: Watcher) -> None:
        self.notes = Notes()
        self._pipeline = pipeline
        self._settings = settings
        self._seed = seed
        self._watcher = watcher
        self._number = 0

    def subjects(self, folder: Folder, *, strangers: bool = False) -> list[Subject]:
        """Every subject of the folder, in order; raises `EvaluationError`, `ModelError`."""
        materials = {each.name: self._loaders(each) for each in folder.subjects}
        self._watcher.expect(_WORK, sum(map(len, materials.values())))
        return [Subject(name, tuple(self._captures(name, loaders)), strangers) for name, loaders in materials.items()]

    def _loaders(self, subject: SubjectFolder) -> Sequence[Loader]:
        found = material(self._pipeline.modality, subject, self._settings, self._seed)
        if subject.files:
            self.notes.kinds.add(found.kind)
        return found.loaders

    def _captures(self, subject: str, loaders: Sequence[Loader]) -> Iterator[Acquired]:
        for load in loaders:
            try:
                acquired = self._acquire(load())
            except LeftOut as error:
                self.notes.left_out[str(error)][subject] += 1
            except ModelError:
                raise
            except BiometricError as error:
                raise EvaluationError(f"a sample of {subject} is no capture: {error}", remedy=error.remedy) from None
            else:
                yield acquired
            self._watcher.step(_WORK)

    def _acquire(self, capture: Any) -> Acquired:
        self._number += 1
        started = time.process_time()
        try:
            sample = self._pipeline.extract(capture, Purpose.ENROL)
        except CaptureRefused as refusal:
            self.notes.enrolment_refusals.update(refusal.quality.reasons)
            return self._verify(capture, refusal.quality)
        self._timed(started)
        return Acquired(self._number, sample.features, True, sample.quality)

    def _verify(self, capture: Any, graded: Quality) -> Acquired:
        started = time.process_time()
        try:
            sample = self._pipeline.extract(capture, Purpose.VERIFY)
        except CaptureRefused as refusal:
            self.notes.refusals.update(refusal.quality.reasons)
            return Acquired(self._number, None, False, graded)
        self._timed(started)
        quality = Quality(graded.score, graded.reasons, {**sample.quality.measures, **graded.measures})
        return Acquired(self._number, sample.features, False, quality)

    def _timed(self, started: float) -> None:
        self.notes.features_ms.append(1000.0 * (time.process_time() - started))


def qualities(subjects: list[Subject]) -> Mapping[int, Quality]:
    """The quality of every capture that became features, by its number."""
    return {each.number: each.quality for subject in subjects for each in subject.usable}
