"""Claims that came later: their golden tokens, and that a token without them stays what it was."""

from __future__ import annotations

import json

import msgspec
import pytest

from protocol.codec import ProtocolViolation, b64url, decode, encode
from protocol.evidence import EvidenceClaims, encode_token, read_claims, replay_tag
from protocol.messages import (
    CertifiedPublic,
    EnrolFinish,
    FlashClaim,
    InfraredClaim,
    ModalityModel,
    PresenceClaim,
    SensorIdentity,
)
from tests.protocol.vectors import load

V = load("claims")
TOKENS = ["weak_sensor", "presence", "both", "replay"]
PLAIN = load("evidence")["token"]
STRONG = msgspec.convert(PLAIN["claims"]["sensors"][0], SensorIdentity)
CLAIM = PresenceClaim(kind="seat", driver="logind-seat", driver_sha256="0" * 64, transport="system")


@pytest.mark.parametrize("name", TOKENS)
def test_golden_token(name: str) -> None:
    claims = msgspec.convert(V[name]["claims"], EvidenceClaims)
    signed: list[bytes] = []

    def sign(digest: bytes) -> bytes:
        signed.append(digest)
        return bytes.fromhex(V[name]["signature"])

    assert encode_token(claims, sign) == V[name]["jws"]
    assert signed[0].hex() == V[name]["signing_input_sha256"]
    assert read_claims(V[name]["jws"]) == claims


def test_what_the_golden_tokens_say() -> None:
    weak, present, both, tagged = (read_claims(V[name]["jws"]) for name in TOKENS)
    assert [sensor.weak for sensor in weak.sensors] == [False, True]
    assert weak.presence is msgspec.UNSET
    assert present.presence == both.presence != msgspec.UNSET
    assert not any(sensor.weak for sensor in present.sensors)
    assert [*tagged.tags] == [tagged.modalities[0].modality]
    assert both.tags == {}


def test_an_older_token_has_neither() -> None:
    claims = read_claims(PLAIN["jws"])
    assert claims.presence is msgspec.UNSET
    assert not claims.sensors[0].weak
    assert claims.tags == {}
    for word in (b"strength", b"presence", b"replay", b"flashes", b"infrared"):
        assert word not in encode(claims)


def test_a_sensor_that_drops_its_weakness_is_another_sensor() -> None:
    weak = msgspec.structs.replace(STRONG, strength="match-only")
    assert weak != STRONG
    assert encode(weak) != encode(STRONG)
    assert msgspec.structs.replace(weak, strength=msgspec.UNSET) == STRONG


def forged(**changes: object) -> str:
    head, _, tail = V["both"]["jws"].split(".")
    return f"{head}.{b64url(json.dumps(V['both']['claims'] | changes, sort_keys=True).encode())}.{tail}"


def test_the_builder_of_forgeries_makes_good_tokens_too() -> None:
    assert read_claims(forged()) == read_claims(V["both"]["jws"])


@pytest.mark.parametrize(
    "presence",
    [None, True, "seat", {}, {"kind": "seat"}, {**msgspec.structs.asdict(CLAIM), "more": 1}]
    + [msgspec.structs.asdict(CLAIM) | {name: "x" * 65} for name in ("kind", "driver", "driver_sha256", "transport")],
)
def test_a_malformed_presence_is_refused(presence: object) -> None:
    with pytest.raises(ProtocolViolation):
        read_claims(forged(presence=presence))


LIT = {"count": 4, "driver": "framebuffer", "driver_sha256": "0" * 64, "transport": "fbdev"}


@pytest.mark.parametrize("flashes", [None, True, 4, {}, LIT | {"count": 0}, LIT | {"count": 9}, LIT | {"more": 1}])
def test_a_malformed_claim_of_flashes_is_refused(flashes: object) -> None:
    assert read_claims(forged(flashes=LIT)).flashes == FlashClaim(**LIT)  # type: ignore[arg-type]
    with pytest.raises(ProtocolViolation):
        read_claims(forged(flashes=flashes))


SEEN = {"sensor": V["both"]["claims"]["sensors"][0], "strobe": True, "looks": 5}


@pytest.mark.parametrize(
    "infrared",
    [None, True, 5, {}, SEEN | {"looks": 0}, SEEN | {"looks": 100_001}, SEEN | {"strobe": 1}, SEEN | {"more": 1}]
    + [SEEN | {"sensor": sensor} for sensor in (None, {}, "opencv", SEEN["sensor"] | {"more": 1})],
)
def test_a_malformed_claim_of_infrared_is_refused(infrared: object) -> None:
    assert read_claims(forged(infrared=SEEN)).infrared == msgspec.convert(SEEN, InfraredClaim)
    with pytest.raises(ProtocolViolation):
        read_claims(forged(infrared=infrared))


def test_an_enrolment_without_a_second_camera_is_said_as_it_was_before_there_were_any() -> None:
    key = CertifiedPublic(public=b"", attest=b"", signature=b"")
    said = {"consent_version": "1", "consent_sha256": "0" * 64, "consent_at": 1.0}
    plain = EnrolFinish(profile_key=key, modalities=[], sensors=[STRONG], **said)  # type: ignore[arg-type]
    pinned = msgspec.structs.replace(plain, infrared=STRONG)
    assert b"infrared" not in encode(plain)
    assert [decode(encode(each), EnrolFinish) for each in (plain, pinned)] == [plain, pinned]


@pytest.mark.parametrize("strength", [None, "", "strong", True, False, 1])
def test_no_other_strength_is_understood(strength: object) -> None:
    first, second = V["both"]["claims"]["sensors"]
    with pytest.raises(ProtocolViolation):
        read_claims(forged(sensors=[first, second | {"strength": strength}]))


def golden_tag(**changes: object) -> str:
    case = V["replay_tag"] | changes
    model = msgspec.convert(case["model"], ModalityModel)
    return replay_tag(bytes.fromhex(case["key"]), model, bytes.fromhex(case["features"])).hex()


def test_golden_replay_tag() -> None:
    assert golden_tag() == V["replay_tag"]["hex"]
    assert read_claims(V["replay"]["jws"]).tags == {
        V["replay_tag"]["model"]["modality"]: bytes.fromhex(V["replay_tag"]["hex"])
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "ff" * 32},
        {"features": "0100feffff7f0180"},
        {"model": V["replay_tag"]["model"] | {"modality": "face"}},
        {"model": V["replay_tag"]["model"] | {"model": "other"}},
    ],
)
def test_a_replay_tag_is_of_one_sample_of_one_profile(changes: dict[str, object]) -> None:
    assert golden_tag(**changes) != golden_tag()


TAG = V["replay"]["claims"]["replay"][0]


@pytest.mark.parametrize("replay", [None, "", [], [TAG], [TAG] * 3, [TAG, "AA=="], [TAG[:-4], ""], [1, 2]])
def test_malformed_replay_tags_are_refused(replay: object) -> None:
    assert read_claims(forged(replay=[TAG, ""])).tags
    with pytest.raises(ProtocolViolation):
        read_claims(forged(replay=replay))
