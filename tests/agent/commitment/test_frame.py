"""The secret projection."""

import hashlib

import numpy as np
import pytest

from agent.profile.commitment._frame import project
from tests.agent.commitment.rig import direction

KEY = bytes(range(32))


@pytest.mark.parametrize("size", [64, 128, 192, 512])
def test_the_frame_is_tight(size):
    columns = np.stack([project(row, 512, KEY) for row in np.eye(size)], axis=1)
    assert columns.T @ columns == pytest.approx(np.eye(size) * 512, abs=1e-9)


def test_the_frame_of_a_key_is_fixed_for_all_time():
    signs = np.packbits(project(np.arange(1.0, 129.0), 512, KEY) < 0).tobytes()
    assert hashlib.sha256(signs).hexdigest()[:16] == "408ad53801f5d6b1"


def test_frames_of_two_keys_have_nothing_in_common():
    embedding = direction(np.random.default_rng(1), 128)
    one, other = (project(embedding, 512, key) < 0 for key in (KEY, bytes(32)))
    assert 0.4 < (one != other).mean() < 0.6


@pytest.mark.parametrize("embedding", [np.zeros(128), np.full(128, np.nan), np.ones(513), np.ones((2, 64))])
def test_what_has_no_direction_or_no_room_is_refused(embedding):
    with pytest.raises(ValueError, match="embedding"):
        project(embedding, 512, KEY)
