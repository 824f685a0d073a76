"""Made-up embeddings, and a decoder that goes bit by bit through the textbook's recursion."""

import numpy as np

from agent.profile.commitment import CodeParameters
from agent.profile.commitment._polar import message_places

PEPPER, CONTEXT = b"p" * 32, b"record 1"
CODES = {"face": CodeParameters(512, 80, 16), "voice": CodeParameters(512, 64, 16)}
SIZES = {"face": 128, "voice": 192}


def direction(random: np.random.Generator, size: int) -> np.ndarray:
    """A unit vector float32 `[size]`."""
    made = random.normal(size=size)
    return (made / np.linalg.norm(made)).astype(np.float32)


def near(random: np.random.Generator, embedding: np.ndarray, cosine: float) -> np.ndarray:
    """A unit vector of this cosine with another."""
    aside = random.normal(size=embedding.size)
    aside -= (aside @ embedding) * embedding
    aside /= np.linalg.norm(aside)
    return (cosine * embedding + np.sqrt(1 - cosine**2) * aside).astype(np.float32)


def slow_list_decoding(ratios: np.ndarray, k: int, list_size: int) -> list[tuple[float, tuple[int, ...]]]:
    """Metric and message of each path, the best first: for every bit its ratio is found from the channel anew."""
    n = len(ratios)
    places = set(message_places(n, k).tolist())
    paths: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for bit in range(n):
        grown = []
        for metric, decided in paths:
            ratio = _ratio(list(ratios), decided)
            for value in (0, 1) if bit in places else (0,):
                grown.append((metric + (abs(ratio) if (ratio < 0) != bool(value) else 0.0), (*decided, value)))
        paths = sorted(grown, key=lambda path: path[0])[:list_size]
    return [(metric, tuple(bits[place] for place in sorted(places))) for metric, bits in paths]


def _ratio(channel: list[float], decided: tuple[int, ...]) -> float:
    """The ratio of the next bit, as Arikan's recursion has it for interleaved halves."""
    if len(channel) == 1:
        return channel[0]
    half, count = len(channel) // 2, len(decided)
    if count < half:
        pairs = zip(channel[:half], channel[half:], strict=True)
        return _ratio([(1 if a * b >= 0 else -1) * min(abs(a), abs(b)) for a, b in pairs], decided)
    left = _encoded(list(decided[:half]))
    sums = [b - a if bit else b + a for a, b, bit in zip(channel[:half], channel[half:], left, strict=True)]
    return _ratio(sums, decided[half:])


def _encoded(bits: list[int]) -> list[int]:
    if len(bits) == 1:
        return bits
    half = len(bits) // 2
    left, right = _encoded(bits[:half]), _encoded(bits[half:])
    return [a ^ b for a, b in zip(left, right, strict=True)] + right
