from __future__ import annotations

import numpy as np
import pytest

from agent.biometrics import BiometricError
from agent.biometrics.digits import Takes, consistency


def takes(digits: str = "0123456789") -> Takes:
    random = np.random.default_rng(3)
    embeddings = random.normal(size=(len(digits), 64))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    names = random.uniform(-6, 0, len(digits)).astype(np.float32)
    return Takes(np.array([int(d) for d in digits]), names, embeddings.astype(np.float32), -12.5)


def test_the_byte_form_keeps_everything_nearly() -> None:
    before = takes()
    after = Takes.from_bytes(before.to_bytes())
    assert (after.digits == before.digits).all()
    assert after.gain == before.gain
    assert np.abs(after.names - before.names).max() < 1e-3
    assert (after.embeddings * before.embeddings).sum(axis=1).min() > 0.995
    assert len(before.to_bytes()) == 4 + 67 * 10


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"\2" + data[1:],
        lambda data: data[:1] + b"\0" + data[2:],
        lambda data: data[:1] + b"\xff" + data[2:],
        lambda data: data[:4] + b"\x0a" + data[5:],
        lambda data: data[:7] + bytes(64) + data[71:],
    ],
)
def test_anything_else_is_refused(damage) -> None:
    with pytest.raises(BiometricError, match="cannot be read"):
        Takes.from_bytes(damage(takes().to_bytes()))


def test_samples_without_digits_are_passed_over_and_none_at_all_is_none() -> None:
    half, other = takes("01234"), takes("56789")
    joined = Takes.joined([half.to_bytes(), b"", other.to_bytes()])
    assert joined is not None
    assert joined.complete
    assert not Takes.from_bytes(half.to_bytes()).complete
    assert Takes.joined([b"", b""]) is None


def test_without_takes_of_every_digit_only_the_network_s_opinion_counts() -> None:
    probe = takes("012345").to_bytes()
    assert consistency([takes("01234").to_bytes()], probe) == consistency([], probe)
    assert consistency([takes().to_bytes()], probe) != consistency([], probe)


def test_nothing_of_it_shows_in_its_repr() -> None:
    assert "array" not in repr(takes())
