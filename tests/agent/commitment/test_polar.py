"""The code and its decoding, against a decoder of another making."""

import numpy as np
import pytest

from agent.profile.commitment import _polar
from tests.agent.commitment.rig import slow_list_decoding


def test_decoding_gives_what_the_slow_decoder_gives():
    random = np.random.default_rng(1)
    unlike = 0
    for trial in range(1000):
        k = int(random.integers(3, 14))
        ratios = random.normal(0.6 if trial % 2 else 0.0, 1.0, 32)
        decoded = _polar.decode(ratios, k, 4)
        slow = slow_list_decoding(ratios, k, 4)
        assert decoded.metrics == pytest.approx([metric for metric, _ in slow])
        unlike += [tuple(each.tolist()) for each in decoded.messages] != [message for _, message in slow]
    assert unlike == 0


def test_decoding_of_the_full_length_gives_what_the_slow_decoder_gives():
    random = np.random.default_rng(2)
    ratios = random.normal(0.0, 1.0, 128)
    decoded = _polar.decode(ratios, 20, 2)
    assert [tuple(each.tolist()) for each in decoded.messages] == [
        each for _, each in slow_list_decoding(ratios, 20, 2)
    ]


def test_a_metric_is_what_its_codeword_disagrees_with():
    ratios = np.random.default_rng(3).normal(0.0, 1.0, 512)
    decoded = _polar.decode(ratios, 80, 16)
    against = (np.abs(ratios) * (decoded.codewords != (ratios < 0))).sum(axis=1)
    assert decoded.metrics == pytest.approx(against)
    assert (np.diff(decoded.metrics) >= 0).all()
    assert all(
        (_polar.encode(one, 512) == word).all() for one, word in zip(decoded.messages, decoded.codewords, strict=True)
    )


def test_codewords_add_up_to_codewords():
    random = np.random.default_rng(4)
    one, other = random.integers(0, 2, (2, 64)).astype(np.uint8)
    assert (_polar.encode(one, 512) ^ _polar.encode(other, 512) == _polar.encode(one ^ other, 512)).all()


@pytest.mark.parametrize(("n", "k"), [(512, 0), (512, 513), (500, 10), (4, 1)])
def test_a_code_that_there_is_not_is_refused(n, k):
    with pytest.raises(ValueError, match="no polar code"):
        _polar.message_places(n, k)
