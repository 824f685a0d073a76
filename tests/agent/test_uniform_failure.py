"""A failure report tells nothing of what failed: not by its content, its length, or what else is sent or done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agent.presentation import Answer
from protocol.codec import encode
from protocol.messages import FailureSubmission, QuoteEvidence
from tests.agent.test_presentation import GENUINE, Stage, stage
from tests.security.broken import NOTICED

__all__ = ["stage"]

OTHER = "somebody else"
FAILURES: dict[str, dict[str, list[Any]]] = {
    "far impostor": {"fingerprint": [OTHER], "face": [OTHER], "voice": [OTHER]},
    "near miss by the finger": GENUINE | {"face": [OTHER], "voice": [OTHER]},
    "near miss by the face": GENUINE | {"fingerprint": [OTHER], "voice": [OTHER]},
    "near miss by the voice": GENUINE | {"fingerprint": [OTHER], "face": [OTHER]},
    "nothing usable": {"fingerprint": ["bad"], "face": ["bad"], "voice": ["bad"]},
}
Present = Callable[[dict[str, list[Any]]], Answer]


def signed_part(quote: QuoteEvidence) -> tuple[Any, ...]:
    """What varies by itself is left out: the signature's value, and the TPM's clock and counters within the quote."""
    return len(quote.attest), quote.attest[:76], quote.attest[-32:], quote.pcrs


def check_failures_are_alike(present: Present) -> None:
    reports = [present(shows) for shows in FAILURES.values()]
    assert all(each.evidence is None and each.failure is not None for each in reports)
    failures = [each.failure for each in reports if each.failure is not None]
    lengths = {len(encode(msgspec.structs.replace(each, quote=padded(each.quote)))) for each in failures}
    assert len(lengths) == 1
    assert len({encode(signed_part(each.quote)) for each in failures}) == 1


def padded(quote: QuoteEvidence) -> QuoteEvidence:
    """An ECDSA signature of a TPM has two numbers of 31 or 32 bytes, by chance."""
    return msgspec.structs.replace(quote, signature=quote.signature.ljust(72, b"\0"))


@pytest.mark.slow
def test_failures_are_alike(stage: Stage) -> None:
    check_failures_are_alike(stage.present)


@pytest.mark.slow
def test_a_report_that_tells_how_near_it_was_is_noticed(stage: Stage) -> None:
    def tells(shows: dict[str, list[Any]]) -> Answer:
        answer = stage.present(shows)
        failure = answer.failure
        assert failure is not None
        attest = failure.quote.attest + bytes(answer.matched)
        told = FailureSubmission(quote=msgspec.structs.replace(failure.quote, attest=attest))
        return Answer(None, told, answer.matched)

    with pytest.raises(NOTICED):
        check_failures_are_alike(tells)
