"""What helpers give away, each beside the control that shows what it would look like."""

import numpy as np
import pytest

from agent.profile.commitment import _frame, _polar, bind, candidates
from tests.agent.commitment.rig import CODES, PEPPER, direction, near

RANDOM = np.random.default_rng(11)
CODE = CODES["face"]


def record(embedding, pepper):
    """The helper of a fresh record, as bits."""
    _, shares = bind({"face": embedding}, ["fingerprint"], CODES, pepper, b"", RANDOM.bytes)
    return np.unpackbits(np.frombuffer(shares.bound["face"].helper, np.uint8))


def committed(embedding, key):
    """A helper under a frame that everybody has."""
    message = RANDOM.integers(0, 2, CODE.k).astype(np.uint8)
    return (_frame.project(embedding, CODE.n, key) < 0).astype(np.uint8) ^ _polar.encode(message, CODE.n)


def distance(one, other):
    """How far the sum of two helpers lies from the nearest codeword (Simoens et al. 2009)."""
    return _polar.decode(1.0 - 2.0 * (one ^ other), CODE.k, 4).metrics[0]


def test_two_records_of_a_person_are_linked_under_a_common_frame_and_not_under_secret_ones():
    common, secret, strangers = [], [], []
    for _ in range(40):
        person = direction(RANDOM, 128)
        again = near(RANDOM, person, 0.9)
        common.append(distance(committed(person, bytes(32)), committed(again, bytes(32))))
        secret.append(distance(record(person, RANDOM.bytes(32)), record(again, RANDOM.bytes(32))))
        strangers.append(distance(record(person, RANDOM.bytes(32)), record(direction(RANDOM, 128), RANDOM.bytes(32))))
    assert max(common) < min(strangers), "the control: a public frame links"
    spread = np.std(strangers) * np.sqrt(2 / len(secret))
    assert abs(np.mean(secret) - np.mean(strangers)) < 4 * spread


def test_a_record_under_the_same_pepper_has_another_frame():
    """The salt alone makes records of one person on one node unlike."""
    person = direction(RANDOM, 128)
    linked = [distance(record(person, PEPPER), record(person, PEPPER)) for _ in range(10)]
    unlinked = [distance(record(person, PEPPER), record(direction(RANDOM, 128), PEPPER)) for _ in range(10)]
    assert min(linked) > 0.8 * min(unlinked)


def test_a_helper_does_not_give_the_embedding_back_and_the_signs_do():
    opened, closed = [], []
    for _ in range(30):
        person, key = direction(RANDOM, 128), RANDOM.bytes(32)
        frame = np.stack([_frame.project(row, CODE.n, key) for row in np.eye(128)], axis=1)
        for found, bits in ((opened, frame @ person < 0), (closed, committed(person, key).astype(bool))):
            back = frame.T @ np.where(bits, -1.0, 1.0)
            found.append(back @ person / np.linalg.norm(back))
    assert np.mean(opened) > 0.9, "the control"
    assert abs(np.mean(closed)) < 3 / np.sqrt(128 * 30)


def climbed(answer, start, queries):
    """Where keeping what the answer prefers leads."""
    here, best = start, answer(start)
    for _ in range(queries):
        step = here + RANDOM.normal(0.0, 0.05, here.size)
        step /= np.linalg.norm(step)
        told = answer(step)
        if told > best:
            here, best = step, told
    return here


def test_climbing_wins_against_an_exact_score_and_not_against_the_buckets():
    person, start = direction(RANDOM, 128), direction(RANDOM, 128)
    root, shares = bind({"face": person}, ["fingerprint"], CODES, PEPPER, b"", RANDOM.bytes)

    def bucket(probe):
        found = candidates(shares, {"face": probe.astype(np.float32)}, {"fingerprint"}, CODES, PEPPER, b"")
        right = [each for each in found if each.root == root]
        return 1 + int(4 * max(0.0, 0.3 - right[0].distances["face"])) if right else 0

    assert bucket(person) > 0, "the person opens"
    assert bucket(climbed(lambda probe: probe @ person, start, 4000)) > 0, "the control: an exact score leads there"
    assert climbed(bucket, start, 300) @ person == pytest.approx(start @ person)
