import numpy as np
import pytest

from agent.biometrics import ModelError, parameters
from agent.biometrics._files import require_sha256
from agent.biometrics._leader import STRIP_PIXELS, LeaderEngine, strips
from agent.biometrics.finger.foreground import foreground
from tests.conftest import ROOT


@pytest.mark.parametrize(("height", "width"), [(480, 640), (374, 388), (100, 100), (1000, 1000), (353, 304)])
def test_strips_keep_every_row_once_and_stay_away_from_the_cuts(height: int, width: int):
    cuts = list(strips(height, width))
    assert [row for _, first, last in cuts for row in range(first, last)] == list(range(height))
    for (start, end), first, last in cuts:
        assert 0 <= start <= first < last <= end <= height
        assert first == 0 or first - start >= 32
        assert last == height or end - last >= 32


def test_a_tall_impression_in_strips_gives_the_minutiae_of_one_pass(fingers):
    pixels = np.ascontiguousarray(fingers[1][0].pixels)
    cells = foreground(pixels)
    cut, whole = (LeaderEngine(size).minutiae(pixels, cells) for size in (STRIP_PIXELS, 1_000_000))
    places = {(one.x, one.y) for one in whole}
    same = sum(any(abs(one.x - x) + abs(one.y - y) <= 2 for x, y in places) for one in cut)
    assert same > 0.9 * max(len(cut), len(whole)) > 10


def test_the_shipped_network_is_the_pinned_one():
    path = ROOT / "agent/models" / parameters.LEADER_FILE
    require_sha256(path, parameters.LEADER_SHA256)
    with pytest.raises(ModelError, match="pinned"):
        require_sha256(path, parameters.VOICE_MODEL_SHA256)
