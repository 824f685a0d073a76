"""Animated portraits before dlib."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest

from simulators.personas._face import AnimatedFace, Pose
from simulators.personas._portrait import astronaut

INSTANTS = (0.0, 1.9, 7.4, 33.3)


@pytest.fixture(scope="module")
def descriptors(personas, face_describer):
    return {p.name: [face_describer.descriptor(p.frame(t)) for t in INSTANTS] for p in personas}


def test_one_person_stays_near_itself(descriptors):
    for vectors in descriptors.values():
        assert max(np.linalg.norm(a - b) for a, b in combinations(vectors, 2)) < 0.45


def test_two_persons_are_kept_apart(descriptors):
    for one, other in combinations(descriptors.values(), 2):
        assert min(np.linalg.norm(a - b) for a in one for b in other) > 0.6


def test_the_portrait_keeps_its_identity_when_animated(face_describer):
    face = AnimatedFace(astronaut(), 1)
    still = face_describer.descriptor(face.render(Pose()))
    for pose in (Pose(yaw=12), Pose(yaw=-12), Pose(pitch=8), Pose(roll=5, shift=(30, -20)), Pose(closed=1.0)):
        assert np.linalg.norm(face_describer.descriptor(face.render(pose)) - still) < 0.4


def test_a_turn_moves_the_nose_and_leaves_the_background(face_describer):
    face = AnimatedFace(astronaut(), 1)
    straight, turned = (face.render(Pose(yaw=angle)).astype(int) for angle in (0.0, 15.0))
    change = np.abs(turned - straight).mean(axis=2)
    assert change[180:320, 240:400].mean() > 4 * change[:100, :100].mean()


def test_a_blink_covers_the_eyes():
    face = AnimatedFace(astronaut(), 1)
    opened, closed = (face.render(Pose(closed=c)).max(axis=2) for c in (0.0, 1.0))
    shift = np.array([320.0, 240.0]) - np.array(astronaut().centre)
    for eye in astronaut().eyes:
        x, y = (np.array(eye) + shift).astype(int)
        window = (slice(y - 9, y + 10), slice(x - 14, x + 15))
        assert np.sum(closed[window] < 90) < 0.5 * np.sum(opened[window] < 90)


def test_everybody_blinks_now_and_then(personas):
    for persona in personas:
        closures = [persona.face.pose(t).closed for t in np.arange(0, 12, 0.05)]
        assert max(closures) > 0.8
        assert np.mean(np.array(closures) == 0.0) > 0.8


def test_carelessness_shows_as_a_darker_smaller_blurred_face(personas, face_describer):
    for persona in personas:
        careful, hurried = persona.frame(2.0), persona.frame(2.0, care=0.3)
        assert hurried.mean() < 0.8 * careful.mean()
        assert face_describer.faces(hurried) >= 1
        distance = np.linalg.norm(face_describer.descriptor(hurried) - face_describer.descriptor(careful))
        assert distance < 0.6


def test_the_camera_sees_one_face(personas, face_describer):
    assert [face_describer.faces(persona.frame(1.0)) for persona in personas] == [1] * len(personas)


def test_a_frame_is_fast(personas):
    personas[1].frame(0.0)
    spent = []
    for n in range(5):
        started = time.process_time()
        personas[1].frame(n / 15)
        spent.append(time.process_time() - started)
    assert min(spent) < 0.025
