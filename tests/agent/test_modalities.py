"""Modalities by entry point: the pin, and what a third party's code may do to the agent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path

import pytest

from agent.config import Config, parse_config
from agent.errors import AgentError, BiometricError, ConfigError
from agent.extension import DIGEST_BYTES, PersonAbsent, RefusesReplays
from agent.modalities import available_modalities, load_modalities, load_pipelines
from hal import Disconnected, PermissionDenied
from tests.agent.test_config import COMPLETE, PIN

SOURCE = """
from agent.extension import Effort, Examined, Match, ModalityModel, PersonAbsent
from hal import Disconnected

class Gait:
    name, kind, alone = "gait", "floor", True
    def __init__(self, options):
        self.options = options
        self.effort = Effort(samples=options.get("samples", 2))
        if options.get("broken"):
            raise ValueError("secret detail")
    def captures(self, sensor):
        yield ["step"]
        raise {"defect": KeyError("secret"), "gone": Disconnected("x"), "away": PersonAbsent("y")}[self.options["end"]]
    def pipeline(self):
        return self
    @property
    def model(self):
        return ModalityModel(modality=self.options.get("claims", "gait"), model="m", parameters="1")
    def examine(self, captures, purpose):
        return {}["secret"]
    def enrol(self, samples):
        raise ZeroDivisionError
    def match(self, template, sample):
        return Match(True, 50)
    def warm_up(self):
        import no_such_library
"""


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Path]:
    """A package that is installed for the length of a test."""
    name = f"kv_gait_{abs(hash(tmp_path))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(SOURCE)
    info = tmp_path / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[keyvigil.modalities]\ngait = {name}:Gait\n")
    sys.path.insert(0, str(tmp_path))
    invalidate_caches()
    try:
        yield tmp_path / name
    finally:
        sys.path.remove(str(tmp_path))


def config(section: str = "", pin: str | None = None) -> Config:
    pinned = f'\n[modalities.gait]\nsha256 = "{pin}"' if pin else ""
    device = f'\n[devices.gait]\ndriver = "floor"\nsha256 = "{PIN}"\n'
    return parse_config((COMPLETE + device + pinned + section).encode())


def pinned(options: str = "") -> Config:
    return config(f"\n[modalities.gait.options]\n{options}", available_modalities()["gait"].sha256)


def test_ours_come_by_entry_point_and_need_no_pin() -> None:
    assert {*available_modalities()} >= {"fingerprint", "face", "voice"}
    loaded = load_modalities(parse_config(COMPLETE.encode()))
    assert [(name, each.kind, each.alone) for name, each in loaded.items()] == [
        ("fingerprint", "fingerprint", True),
        ("face", "camera", True),
    ]


def test_ours_may_be_pinned_too_and_the_pin_holds() -> None:
    right = available_modalities()["face"].sha256
    load_modalities(parse_config(f'{COMPLETE}\n[modalities.face]\nsha256 = "{right}"'.encode()))
    with pytest.raises(PermissionDenied, match="face"):
        load_modalities(parse_config(f'{COMPLETE}\n[modalities.face]\nsha256 = "{PIN}"'.encode()))


def test_a_foreign_one_is_refused_without_a_pin_and_the_remedy_has_it(installed: Path) -> None:
    with pytest.raises(ConfigError, match="gait") as refusal:
        load_modalities(config())
    assert available_modalities()["gait"].sha256 in refusal.value.remedy
    assert installed.name not in sys.modules, "its code ran before it was trusted"


def test_a_pinned_one_is_loaded_in_the_configuration_s_order(installed: Path) -> None:
    assert list(load_modalities(pinned())) == ["fingerprint", "face", "gait"]


def test_a_changed_file_of_its_package_is_not_loaded(installed: Path) -> None:
    before = pinned()
    (installed / "helper.py").write_text("x = 1\n")
    with pytest.raises(PermissionDenied, match="SHA-256"):
        load_modalities(before)
    assert installed.name not in sys.modules


def test_a_modality_that_is_not_installed_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"devices\.gait") as refusal:
        config()
    assert "face, fingerprint, fingerprint-match, voice" in refusal.value.remedy


def test_a_section_for_a_modality_that_is_not_installed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"modalities\.gait"):
        parse_config(f'{COMPLETE}\n[modalities.gait]\nsha256 = "{PIN}"'.encode())


@pytest.mark.parametrize("options", ["broken = true", "samples = 0", "samples = 51", 'samples = "two"'])
def test_one_that_cannot_be_made_is_a_configuration_error_without_its_text(installed: Path, options: str) -> None:
    with pytest.raises(ConfigError, match="gait") as refusal:
        load_modalities(pinned(options))
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("section", "named"),
    [("fingerprint", "tries"), ("face", "frames"), ("fingerprint", "tires")],
)
def test_wrong_options_of_ours_are_named(section: str, named: str) -> None:
    text = f"{COMPLETE}\n[modalities.{section}.options]\n{named} = 0"
    with pytest.raises(ConfigError, match=rf"modalities\.{section}\.options: .*{named}"):
        load_modalities(parse_config(text.encode()))


@pytest.mark.parametrize(("end", "error"), [("defect", BiometricError), ("gone", Disconnected), ("away", PersonAbsent)])
def test_captures_raise_what_the_agent_expects(installed: Path, end: str, error: type[Exception]) -> None:
    captures = load_modalities(pinned(f'end = "{end}"'))["gait"].captures(None)  # type: ignore[arg-type]
    assert next(captures) == ["step"]
    with pytest.raises(error) as raised:
        next(captures)
    assert "secret" not in str(raised.value)


def test_a_pipeline_raises_what_the_agent_expects_and_nothing_of_what_it_saw(installed: Path) -> None:
    pipeline = load_pipelines(load_modalities(pinned()))["gait"]
    assert pipeline.match(b"", None).accepted
    for call in (lambda: pipeline.examine([], "challenge"), lambda: pipeline.enrol([]), pipeline.warm_up):
        with pytest.raises(AgentError) as raised:
            call()
        assert "secret" not in str(raised.value)


def test_other_code_is_another_model_so_that_evidence_tells(installed: Path) -> None:
    before = load_pipelines(load_modalities(pinned()))["gait"].model
    assert before.model == f"m+code:{available_modalities()['gait'].sha256}"
    (installed / "helper.py").write_text("x = 1\n")
    assert load_pipelines(load_modalities(pinned()))["gait"].model != before
    ours = load_pipelines(load_modalities(parse_config(COMPLETE.encode())))["face"].model
    assert "+code" not in ours.model


def test_a_pipeline_cannot_speak_for_another_modality(installed: Path) -> None:
    pipeline = load_pipelines(load_modalities(pinned('claims = "face"')))["gait"]
    with pytest.raises(BiometricError, match="of another"):
        _ = pipeline.model


REFUSER = """
    def digest(self, sample):
        return sample
    def replayed(self, past, sample):
        return {}["secret"]
    def repeated(self, sitting, sample):
        return sample in sitting
"""


def test_a_foreign_pipeline_may_tell_replays_and_is_held_to_its_bounds(installed: Path) -> None:
    (installed / "__init__.py").write_text(SOURCE + REFUSER)
    pipeline = load_pipelines(load_modalities(pinned()))["gait"]
    assert isinstance(pipeline, RefusesReplays)
    assert pipeline.digest(b"x" * DIGEST_BYTES) == b"x" * DIGEST_BYTES
    assert pipeline.repeated([b"a"], b"a") is True
    with pytest.raises(BiometricError, match="keeps more"):
        pipeline.digest(b"x" * (DIGEST_BYTES + 1))
    with pytest.raises(BiometricError, match="KeyError") as refusal:
        pipeline.replayed([], b"a")
    assert "secret" not in str(refusal.value)


def test_one_that_tells_no_replays_is_not_asked(installed: Path) -> None:
    assert not isinstance(load_pipelines(load_modalities(pinned()))["gait"], RefusesReplays)


def test_all_of_ours_tell_replays() -> None:
    ours = load_pipelines(load_modalities(parse_config(COMPLETE.encode())))
    assert all(isinstance(pipeline, RefusesReplays) for pipeline in ours.values())
