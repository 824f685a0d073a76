"""What a node sends and keeps for a challenge holds no embedding, and no release share in clear."""

from __future__ import annotations

import msgspec
import pytest

from agent.presentation import Answer
from protocol.codec import encode
from tests.agent.people import pipelines
from tests.agent.test_presentation import GENUINE, Stage, stage
from tests.security.broken import NOTICED
from tests.system.needles import Needle, files_below, leaks

__all__ = ["stage"]


def needles(stage: Stage) -> list[Needle]:
    """The shares in force, and each modality's embedding, as the agent's pipelines make them."""
    shares = stage.node.holder.both
    found = [Needle.of_bytes("the present share", shares.present)]
    if shares.following is not None:
        found.append(Needle.of_bytes("the following share", shares.following))
    for name, pipeline in pipelines().items():
        if hasattr(pipeline, "embedding"):
            vector = pipeline.embedding([_Shown(GENUINE[name][0])])
            found.append(Needle.of_bytes(f"the embedding of {name}", vector.tobytes()))
    assert len(found) >= 4
    return found


class _Shown(msgspec.Struct):
    text: str


def sent(answer: Answer) -> bytes:
    """The body of the one request that carries the answer."""
    said = answer.evidence or answer.failure
    assert said is not None
    return encode(said)


def check_the_wire(wanted: list[Needle], body: bytes) -> None:
    assert leaks(wanted, iter([("wire", body)])) == []


@pytest.mark.parametrize("shows", [GENUINE, {name: ["other"] for name in GENUINE}], ids=["evidence", "failure"])
def test_nothing_secret_is_sent_or_kept(stage: Stage, shows: dict[str, list[str]]) -> None:
    before = needles(stage)
    answer = stage.present(shows)
    wanted = before + needles(stage)
    check_the_wire(wanted, sent(answer))
    kept = [*files_below(stage.node.state.root)]
    assert kept
    assert leaks(wanted, iter(kept)) == []


def test_what_is_sent_with_a_secret_in_it_is_noticed(stage: Stage) -> None:
    """The control: every needle, in every form, is found in a body that carries it."""
    wanted = needles(stage)
    for needle in wanted:
        for form in needle.forms:
            with pytest.raises(NOTICED):
                check_the_wire(wanted, b'{"token":"' + form + b'"}')
