from itertools import combinations

import numpy as np
import pytest

from agent.biometrics import Features, Modality, Quality, VoicePipeline
from agent.evaluation import operational, single
from agent.evaluation.acquiring import Acquired, Notes, Subject
from agent.evaluation.operational import Numbers, Operation, numbers_for
from agent.evaluation.progress import Silent
from agent.evaluation.settings import OperationalSettings

PIPELINE = VoicePipeline()


def subject(name: str, direction: int, samples: int, first: int, *, stranger: bool = False, **changes) -> Subject:
    """Voices that point in one direction each, with a little noise; `refused` and `unfit` are indices of captures."""
    random = np.random.default_rng(direction)
    acquired = []
    for index in range(samples):
        stray = index in changes.get("stray", ())
        vector = random.normal(0.0, 500.0, 192)
        vector[direction + 50 * stray] += 20_000.0
        vector *= 32_000.0 / np.linalg.norm(vector)
        features = Features(Modality.VOICE, PIPELINE.model, vector.astype(np.int16))
        refused = index in changes.get("refused", ())
        fit = not refused and index not in changes.get("unfit", ())
        acquired.append(Acquired(first + index, None if refused else features, fit, Quality(80)))
    return Subject(name, tuple(acquired), stranger)


def people(**changes) -> list[Subject]:
    counts, found, number = changes.pop("counts", (5, 6, 7)), [], 1
    for direction, count in enumerate(counts):
        found.append(subject(f"s{direction}", direction, count, number, **(changes if direction == 0 else {})))
        number += count
    return found


def run(subjects: list[Subject], **settings):
    chosen = OperationalSettings(**settings)
    return Operation(PIPELINE, subjects, chosen, 1, Notes()).run(Silent())


def test_single_compares_each_pair_of_samples_once():
    trials = single.trials(PIPELINE, people(counts=(2, 3, 4)), Silent())
    assert len(trials.genuine) == 1 + 3 + 6
    assert len(trials.impostor) == 2 * 3 + 2 * 4 + 3 * 4
    pairs = np.sort(np.concatenate([trials.genuine.samples, trials.impostor.samples]), axis=1)
    assert sorted(map(tuple, pairs.tolist())) == list(combinations(range(1, 10), 2))
    assert trials.genuine.scores.min() > 0.8 > 0.2 > trials.impostor.scores.max()
    assert trials.impostor.subject_pairs == 3


def test_refused_captures_and_pairs_of_strangers_are_not_compared():
    subjects = [
        *people(counts=(3, 3), refused=(1,)),
        subject("x", 5, 2, 20, stranger=True),
        subject("y", 6, 2, 30, stranger=True),
    ]
    trials = single.trials(PIPELINE, subjects, Silent())
    assert len(trials.genuine) == 1 + 3
    assert len(trials.impostor) == 2 * 3 + (2 + 3) * 4
    assert not ((trials.impostor.one >= 2) & (trials.impostor.other >= 2)).any()


def test_operation_enrols_three_and_presents_every_other_utterance():
    outcome = run(people(), repeats=4)
    assert outcome.wanted == Numbers(3, 1)
    assert len(outcome.trials.genuine) == 4 * (2 + 3 + 4)
    assert len(outcome.trials.impostor) == 4 * (13 + 12 + 11)
    assert outcome.trials.genuine.accepted.all()
    assert not outcome.trials.impostor.accepted.any()
    assert not outcome.reduced
    assert not outcome.left_out


def test_no_presented_sample_is_one_that_was_enrolled():
    seen = run(people(counts=(4, 4)), repeats=30).trials.genuine
    alone = seen.samples[seen.one == 0]
    assert set(alone.ravel().tolist()) == {1, 2, 3, 4}
    assert seen.scores.max() < 0.99999


def test_the_seed_decides_who_is_enrolled_with_what():
    def samples(seed: int) -> list[list[int]]:
        operation = Operation(PIPELINE, people(), OperationalSettings(repeats=3), seed, Notes())
        return operation.run(Silent()).trials.genuine.samples.tolist()

    assert samples(1) == samples(1) != samples(2)


def test_samples_presented_together_come_in_every_combination_up_to_a_bound():
    outcome = run(people(counts=(7, 12)), repeats=1, probe=3)
    own = outcome.trials.genuine
    assert (own.one == 0).sum() == 4  # of 4 remaining samples, 3 at a time
    assert (own.one == 1).sum() == operational.COMBINATIONS
    assert own.samples.shape[1] == 3
    assert len({tuple(row) for row in own.samples.tolist()}) == len(own)


def test_a_refused_capture_is_left_out_of_its_combination_and_alone_is_a_failure_to_acquire():
    together = run(people(counts=(6, 6), refused=(0,)), repeats=2, probe=2)
    assert together.counts.presentation_failures == 0
    assert (together.trials.genuine.samples[together.trials.genuine.one == 0] == -1).any()
    alone = run(people(counts=(6, 6), refused=(0,)), repeats=2)
    assert (alone.counts.presentations, alone.counts.presentation_failures) == (12, 2)


def test_captures_unfit_to_enrol_are_presented_and_never_enrolled():
    outcome = run(people(counts=(5, 5), unfit=(0, 1)), repeats=5)
    first = outcome.trials.genuine.samples[outcome.trials.genuine.one == 0]
    assert set(first.ravel().tolist()) == {1, 2}


def test_a_stray_sample_is_refused_and_replaced_and_then_presented():
    outcome = run(people(counts=(6, 6), stray=(2,)), repeats=10)
    assert outcome.counts.strays > 0
    assert outcome.counts.enrolment_failures == 0
    presented = outcome.trials.genuine
    of_stray = presented.scores[(presented.samples == 3).ravel()]
    assert len(of_stray) == 10
    assert (of_stray < 0.5).all()


def test_an_enrolment_whose_samples_never_agree_fails_and_is_reported():
    outcome = run(people(counts=(4, 6), stray=(0, 1)), repeats=3)
    assert outcome.counts.enrolment_failures == 3
    assert outcome.left_out[-1].subject == "s0"
    assert "3 of 3 enrolments failed" in outcome.left_out[-1].reason


def test_subjects_with_too_few_samples_are_reported():
    outcome = run(people(counts=(2, 3, 6)), repeats=1)
    assert [(each.subject, each.reason) for each in outcome.left_out] == [("s0", "2 samples, at least 3 are needed")]
    assert [each.subject for each in outcome.reduced] == ["s1"]
    assert "2 enrolled and 1 presented" in outcome.reduced[0].reason
    poor = run(people(counts=(6, 6), unfit=(0, 1, 2, 3, 4)), repeats=2)
    assert "1 samples pass the enrolment gate" in poor.left_out[0].reason
    assert poor.counts.enrolment_failures == 2


@pytest.mark.parametrize(
    ("samples", "wanted", "least", "expected"),
    [
        (8, (5, 3), 1, (5, 3)),
        (5, (5, 3), 1, (3, 2)),
        (2, (5, 3), 1, (1, 1)),
        (1, (5, 3), 1, None),
        (4, (4, 1), 3, (3, 1)),
        (3, (4, 1), 3, None),
        (0, (3, 1), 2, None),
    ],
)
def test_fewer_samples_are_shared_in_the_product_s_proportion(samples, wanted, least, expected):
    numbers = numbers_for(subject("s", 0, samples, 1), Numbers(*wanted), least)
    assert numbers == (Numbers(*expected) if expected else None)
