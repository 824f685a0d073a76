"""The infrared camera as the agent has it: pinned at enrolment, in evidence only where it looked on and agreed."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
import pytest

from agent.capturing import Booth
from agent.clocks import StoppableClock
from agent.enrolling import consent_to
from agent.modalities.face import Face
from agent.profile import RecordHeader
from hal import Capability, Deadline, DeviceInfo, DeviceKind, Disconnected, Frame, NotFound, PermissionDenied, Transport
from protocol.codec import decode, encode
from protocol.evidence import EvidenceClaims, read_claims
from protocol.messages import MOST_LOOKS, InfraredClaim
from tests.agent.people import FakeDevices, QuietPrompter, Scene, modalities, second_sensor
from tests.agent.test_enrolling import GOOD, Desk, desk
from tests.agent.test_presentation import GENUINE, Stage, stage

__all__ = ["desk", "stage"]


class Second:
    """An infrared camera that counts how often it was opened and closed."""

    def __init__(self, port: str = "beside") -> None:
        abilities = frozenset({Capability.INFRARED})
        self.info = DeviceInfo(DeviceKind.CAMERA, "fake-second", Transport.VIRTUAL, port, capabilities=abilities)
        self.opened = self.closed = 0

    def read(self, deadline: Deadline) -> Frame:
        raise AssertionError("nobody is to look through it here")

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> Self:
        self.opened += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SeenFace(Face):
    """A face at which the second camera looks so often, and sees the same."""

    looks = 5
    failing = False

    def captures(self, sensor: Any) -> Generator[Sequence[Frame], None, None]:
        with sensor.infrared() as second:
            for _ in range(self.looks if second is not None else 0):
                second.looked()
            if self.failing:
                raise Disconnected("the infrared camera went away")
        yield from super().captures(sensor)


def presented(
    stage: Stage, second: Second | None, looks: int = 5, failing: bool = False, **shows: Any
) -> EvidenceClaims:
    face = SeenFace({"liveness": False})
    face.looks, face.failing = looks, failing
    answer = stage.present(GENUINE | shows, modalities=modalities() | {"face": face}, second=second)
    assert answer.evidence is not None
    return read_claims(answer.evidence.token)


def test_evidence_says_what_looked_on_and_how_often(stage: Stage) -> None:
    second = Second()
    seen = presented(stage, second).infrared
    assert seen == InfraredClaim(sensor=second_sensor(), strobe=True, looks=5)
    assert (second.opened, second.closed) == (1, 1)


@pytest.mark.parametrize(("second", "looks"), [(None, 5), (Second(), 0)])
def test_evidence_says_nothing_where_no_camera_looked_on(stage: Stage, second: Second | None, looks: int) -> None:
    """One that is open is not one that saw the face."""
    claims = presented(stage, second, looks)
    assert claims.infrared is msgspec.UNSET
    assert b"infrared" not in encode(claims)


@pytest.mark.parametrize("changes", [{"failing": True}, {"face": ["another"]}])
def test_a_face_that_is_left_out_takes_the_claim_with_it(stage: Stage, changes: dict[str, Any]) -> None:
    claims = presented(stage, Second(), **changes)
    assert [model.modality for model in claims.modalities] == ["fingerprint", "voice"]
    assert claims.infrared is msgspec.UNSET


def test_no_count_of_looks_makes_evidence_malformed(stage: Stage) -> None:
    seen = presented(stage, Second(), MOST_LOOKS + 1).infrared
    assert seen is not msgspec.UNSET and seen.looks == MOST_LOOKS


@pytest.mark.parametrize(
    ("pinned", "second", "shows", "told"),
    [
        ("beside", Second(), {}, False),
        ("beside", None, {}, True),
        ("beside", Second("elsewhere"), {}, True),
        ("beside", None, {"face": ["another"]}, False),
        ("", None, {}, False),
    ],
)
def test_the_node_tells_what_will_become_of_a_face_without_the_camera_of_its_enrolment(
    stage: Stage,
    caplog: pytest.LogCaptureFixture,
    pinned: str,
    second: Second | None,
    shows: dict[str, Any],
    told: bool,
) -> None:
    """The authority gives nodes no reason; an answer without the face needs none."""
    infrared = second_sensor(pinned) if pinned else msgspec.UNSET
    header = msgspec.structs.replace(stage.vault.header("r1"), infrared=infrared)
    answer = stage.present(
        GENUINE | shows, modalities=modalities() | {"face": SeenFace({"liveness": False})}, second=second, header=header
    )
    assert answer.evidence is not None
    assert ("infrared camera of the enrolment did not look on" in caplog.text) is told


def booth(second: Second) -> Booth:
    devices, clock = FakeDevices(Scene()), StoppableClock(threading.Event())
    devices.second = second
    return Booth("node-a", "alice", "challenge", devices, modalities(), QuietPrompter(), clock)  # type: ignore[arg-type]


def look(made: Booth, times: int) -> None:
    with (
        made.session("face", 1, Deadline.after(5, made.clock)) as session,
        session.infrared() as second,
    ):
        assert second is not None
        for _ in range(times):
            second.looked()


def test_another_try_counts_its_own_looks(stage: Stage) -> None:
    made = booth(Second())
    look(made, 7)
    look(made, 2)
    assert made.beside["face"].looks == 2


def test_another_camera_in_its_place_is_refused_and_let_go(stage: Stage) -> None:
    made, other = booth(Second()), Second("elsewhere")
    look(made, 1)
    made.devices.second = other  # type: ignore[attr-defined]
    with pytest.raises(PermissionDenied, match="elsewhere") as caught:
        look(made, 1)
    assert caught.value.remedy and other.closed == 1


def enrol(desk: Desk, second: Second | None, liveness: bool = True) -> None:
    guide, session = desk.guide(GOOD), desk.session
    guide.booth.devices.second = second  # type: ignore[attr-defined]
    guide.booth.modalities["face"] = Face({"liveness": liveness})  # type: ignore[index]
    chosen = desk.enrolment.choose(session, ["fingerprint", "face", "voice"])
    desk.enrolment.finish(session, "alice", guide, chosen, consent_to(session, 7.0))


def test_it_is_pinned_at_enrolment_here_and_with_the_authority(desk: Desk) -> None:
    second = Second()
    enrol(desk, second)
    assert [finish.infrared for finish in desk.finished()] == [second_sensor()]
    assert desk.vault.header("r9").infrared == second_sensor()
    assert desk.open().header.infrared == second_sensor()
    assert (second.opened, second.closed) == (1, 1)


@pytest.mark.parametrize("liveness", [True, False])
def test_where_none_looks_on_none_is_pinned(desk: Desk, liveness: bool) -> None:
    """Without gestures a second camera is never asked, so that a pin would only lock the person out."""
    enrol(desk, None if liveness else Second(), liveness)
    assert [finish.infrared for finish in desk.finished()] == [msgspec.UNSET]
    assert b"infrared" not in desk.authority.seen("/v1/enrolments/e1")[0]
    header = desk.vault.header("r9")
    assert b"infrared" not in encode(header)
    assert decode(encode(header), RecordHeader) == header


def test_one_that_is_configured_and_missing_ends_the_enrolment(desk: Desk) -> None:
    class Missing(Second):
        def __enter__(self) -> Self:
            raise NotFound("there is no camera")

    with pytest.raises(NotFound):
        enrol(desk, Missing())
    assert desk.finished() == []
