"""The policy: defaults, TOML, and errors that name key and range."""

from __future__ import annotations

from pathlib import Path

import pytest

from authority.trust import PolicyError, default_policy, load_policy, parse_policy
from protocol.levels import Rotation


def test_the_default_policy_satisfies_its_own_rules() -> None:
    assert parse_policy('version = "default-1"') == default_policy()


def test_the_default_demands_that_face_and_voice_answer_the_challenge() -> None:
    rules = default_policy().enrolment
    assert rules.objection("face", set()) == "face must have gestures"
    assert rules.objection("voice", {"gestures"}) == "voice must have spoken-digits"
    assert not rules.objection("face", {"gestures"}) and not rules.objection("voice", {"spoken-digits"})
    assert not rules.objection("fingerprint", set())


def test_a_policy_may_leave_a_modality_out_or_demand_nothing_of_it() -> None:
    without = parse_policy('version = "t"\n[enrolment]\nmodalities = ["fingerprint", "voice"]\nrefuse = ["gestures"]')
    assert without.enrolment.objection("face", {"gestures"}) == "face is not accepted"
    assert without.enrolment.objection("voice", set()) == "voice must have spoken-digits"
    loose = parse_policy('version = "t"\n[enrolment]\nrequire = {}')
    assert not loose.enrolment.objection("face", set())


def test_rotation_periods_by_tier() -> None:
    rules = default_policy().rotation
    assert [rules.period_s(each) for each in Rotation] == [86400, 3600, 300]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[challenge]\nmin_s = 30", r"challenge\.min_s = 30 .* between 3600 and 86400"),
        ("[challenge]\nmax_s = 90000", r"challenge\.max_s = 90000 .* between 3600 and 86400"),
        ("[challenge]\nmin_s = 7200\nmax_s = 3600", r"challenge\.min_s must not be above challenge\.max_s"),
        ("[challenge]\nmin_modalities = 1", r"challenge\.min_modalities = 1 .* between 2 and 10"),
        ("[challenge]\ngestures = 2", r"challenge\.gestures = 2 .* between 3 and 6"),
        ("[weights]\nsuccess = 600", r"weights must add up to 1000"),
        ("[weights]\nsuccess = 700\nspeed = 100\nquality = 100", r"weights\.speed \+ weights\.quality .* 201 and 499"),
        ("[weights]\nsuccess = 400\nspeed = 250\nquality = 250", r"weights\.speed \+ weights\.quality .* 201 and 499"),
        ("[caps]\none_failure = 900", r"caps\.one_failure = 900 .* between 0 and 800"),
        ("[caps]\ntwo_failures = 501", r"caps\.two_failures = 501 .* between 0 and 500"),
        ("[caps]\nattestation_failed = 1", r"caps\.attestation_failed = 1 .* between 0 and 0"),
        ("[rotation]\nvery_fast_s = 1", r"rotation\.very_fast_s = 1 .* between 10"),
        ("[rotation]\nincreased_s = 90000", r"rotation\.increased_s must not be above rotation\.standard_s"),
        ("[recency]\nprior = 900", r"recency\.prior = 900 .* between 300 and 500"),
        ("[recency]\nprior_weight = 3", r"three clean answers below the high tier"),
        ("[attestation]\npcr_selection = [7, 4]", r"attestation\.pcr_selection must name PCRs between 0 and 23"),
        ("[attestation]\npcr_selection = []", r"attestation\.pcr_selection"),
        ("[attestation]\npcr_selection = [24]", r"attestation\.pcr_selection"),
        ('[enrolment]\nmodalities = ["face"]', r"enrolment\.modalities must name at least 2"),
        ('[enrolment]\nmodalities = ["face", "face"]', r"enrolment\.modalities must name each modality once"),
        ('[enrolment]\nmodalities = ["face", "Iris scan"]', r"enrolment\.modalities .* a-z"),
        ('[enrolment]\nmodalities = ["face", "voice"]\n[challenge]\nmin_modalities = 3', r"at least 3"),
        ('[enrolment.require]\ngait = ["two-legs"]', r"enrolment\.require names 'gait'"),
        ('[enrolment]\nrefuse = ["gestures"]', r"demands of 'face' what enrolment\.refuse refuses"),
        ('[enrolment.require]\nface = ["own-threshold"]', r"demands of 'face' what enrolment\.refuse refuses"),
        ('[enrolment.require]\nface = ["Turn head"]', r"traits in enrolment\.require"),
        ("[rotations]\nstandard_s = 86400", r"rotations"),
        ("[rotation]\nslow_s = 86400", r"slow_s"),
        ('[rotation]\nstandard_s = "day"', r"rotation\.standard_s"),
        ("[rotation]\nstandard_s = nan", r"rotation\.standard_s"),
        ("[rotation", r"table declaration"),
    ],
)
def test_a_wrong_value_is_refused_and_named(text: str, named: str) -> None:
    with pytest.raises(PolicyError, match=named) as refused:
        parse_policy(f'version = "t"\n{text}')
    assert "docs/trust.md" in refused.value.remedy


def test_a_policy_has_a_version() -> None:
    with pytest.raises(PolicyError, match="version"):
        parse_policy("lab = false")
    with pytest.raises(PolicyError, match="version"):
        parse_policy('version = "a\\nb"')


def test_a_lab_policy_may_use_seconds_and_binds_lab_nodes_only() -> None:
    policy = parse_policy('version = "demo"\nlab = true\n[challenge]\nmin_s = 2\nmax_s = 8\nactivation_s = 8')
    assert policy.challenge_interval_s(lab_node=True) == (2, 8)
    assert policy.challenge_interval_s(lab_node=False) == (3600, 3600)


def test_the_same_seconds_are_refused_outside_the_lab() -> None:
    with pytest.raises(PolicyError, match="lab = true"):
        parse_policy('version = "demo"\n[challenge]\nmin_s = 2\nmax_s = 8\nactivation_s = 8')


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "policy.toml"
    with pytest.raises(PolicyError, match=r"policy\.toml cannot be read"):
        load_policy(missing)
    missing.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match=r"policy\.toml cannot be read"):
        load_policy(missing)
    missing.write_text('version = "x"\nlab = 3')
    with pytest.raises(PolicyError, match=r"policy\.toml: .*lab"):
        load_policy(missing)


def test_as_dict_shows_every_section() -> None:
    shown = default_policy().as_dict()
    assert shown["challenge"]["activation_s"] == 60
    assert shown["attestation"]["pcr_selection"] == [0, 2, 4, 7]


def test_every_key_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "trust.md").read_text(encoding="utf-8")
    sections = default_policy().as_dict()
    keys = {f"{name}.{key}" for name, section in sections.items() if isinstance(section, dict) for key in section}
    assert not {key for key in keys if f"`{key}`" not in text}


def test_more_than_five_tries_are_for_a_lab() -> None:
    more = "[lockout]\nfailures = 6"
    with pytest.raises(PolicyError, match=r"lockout\.failures must not be above 5"):
        parse_policy(f'version = "x"\n{more}')
    assert parse_policy(f'version = "x"\nlab = true\n{more}').lockout.failures == 6
