from __future__ import annotations

import numpy as np
import pytest

from agent.biometrics import ModelError, parameters
from agent.biometrics.digits import _network
from agent.biometrics.digits._mel import log_mel
from agent.biometrics.digits._network import SHAPES, DigitNetwork, parse

LENGTH = 2 * sum(int(np.prod(shape)) for pair in SHAPES for shape in pair)


def test_a_file_of_another_length_is_refused() -> None:
    assert len(parse(bytes(LENGTH))) == len(SHAPES)
    for data in (b"", bytes(LENGTH - 2), bytes(LENGTH + 2)):
        with pytest.raises(ModelError, match="another form"):
            parse(data)


def test_another_file_than_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "DIGITS_MODEL_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="is pinned"):
        DigitNetwork().load()


def test_a_convolution_is_the_sum_over_its_taps() -> None:
    random = np.random.default_rng(1)
    given, weights, bias = random.normal(size=(11, 2)), random.normal(size=(6, 3)), random.normal(size=3)
    for stride, dilation in ((1, 1), (2, 1), (1, 2)):
        made = _network._convolve(given, weights, bias, stride, dilation)
        for row, frame in enumerate(range(0, 11, stride)):
            expected = bias.copy()
            for tap in range(3):
                at = frame + (tap - 1) * dilation
                if 0 <= at < 11:
                    expected += given[at] @ weights[2 * tap : 2 * tap + 2]
            assert np.allclose(made[row], expected)


def test_level_and_colour_of_the_microphone_do_not_count() -> None:
    random = np.random.default_rng(2)
    sound = np.concatenate([random.normal(0, 0.1, 4000), random.normal(0, 1e-5, 4000)]).astype(np.float32)
    assert np.abs(log_mel(sound) - log_mel(sound * np.float32(0.5))).max() < 0.1
    assert log_mel(sound).shape == (98, 40)
    assert log_mel(sound[:199]).shape == (0, 40)
