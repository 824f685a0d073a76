"""Evaluation of what a sealed profile decides."""

import json
from pathlib import Path

import numpy as np
import pytest

from agent.biometrics import Features, Modality, Template, VoicePipeline
from agent.cli import run
from agent.evaluation.through_profile import through_profile
from tests.agent.commitment.rig import direction, near


def test_the_person_opens_and_a_stranger_who_knows_everything_does_not() -> None:
    random, pipeline = np.random.default_rng(1), VoicePipeline()
    person = direction(random, 192)

    def features(embedding: np.ndarray) -> Features:
        return Features(Modality.VOICE, pipeline.model, np.rint(embedding * 32767).astype(np.int16))

    seal = through_profile(pipeline, random)
    assert seal is not None
    opened = seal(Template.of([features(near(random, person, 0.9)) for _ in range(3)]))
    shown = [near(random, person, 0.9), direction(random, 192), near(random, person, 0.9), direction(random, 192)]
    assert opened([[features(one)] for one in shown]) == [True, False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize(("modality", "share"), [("fingerprint", "released"), ("face", "bound")])
def test_the_report_is_the_same_but_for_the_decision(modality: str, share: str, fingers: Path, request, tmp_path: Path):
    fast = ["--set", "fingerprint.extractor=fast"] if modality == "fingerprint" else []
    folder = fingers if modality == "fingerprint" else request.getfixturevalue("faces")
    written = []
    for extra in ([], ["--through-profile"]):
        path = tmp_path / "report.json"
        few = ["--set", "operational.repeats=1", "--json", str(path)]
        assert run(["evaluate", modality, str(folder), *fast, *few, *extra]) == 0
        written.append(json.loads(path.read_text()))
    plain, sealed = written
    assert sealed.keys() == plain.keys()
    assert sealed["operational"].keys() - plain["operational"].keys() == {"through_profile"}
    assert sealed["operational"]["through_profile"]["share"] == share
    assert sealed["operational"]["threshold"] is None
    assert sealed["operational"]["eer"] == pytest.approx(plain["operational"]["eer"])
