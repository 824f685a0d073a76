"""Manual pages, completions and bills of materials come from the programs and locks themselves."""

from __future__ import annotations

import copy
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from authority.cli import cli as authority_cli
from packages import completion, manual, sbom
from packages.programs import AGENT, AUTHORITY, PROGRAMS, Program
from simulators.lab.processes import command
from tests.conftest import ROOT

WHEN = 1_700_000_000


def troff_complaints(page: str) -> str:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True, check=True
    )
    return done.stderr


def rendered(page: str) -> str:
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-cbou"], input=page, capture_output=True, text=True, check=True
    )
    return done.stdout


@click.group()
def hostile() -> None:
    """Say \\fBlittle."""


@hostile.command()
@click.option("--so", help=".so /etc/passwd")
def read() -> None:
    """.ab stop 'here' `now` "then" -- \\n(.g"""


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff")
def test_words_of_the_help_are_no_orders_to_troff() -> None:
    shown = " ".join(rendered(manual.page(hostile, "hostile", WHEN, "1")).split())
    assert "\\fBlittle" in shown
    assert ".so /etc/passwd" in shown
    assert ".ab stop 'here' `now` \"then\" -- \\n(.g" in shown
    assert "2023-11-14" in shown


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff")
def test_the_authority_s_page_has_every_command_and_troff_has_no_complaint() -> None:
    page = manual.page(authority_cli, "keyvigil-authority", WHEN, "1")
    assert troff_complaints(page) == ""
    assert troff_complaints(page + ".nonsense\n") != ""
    assert re.findall(r"^keyvigil\\-authority kek rotate ", page, re.MULTILINE)
    assert "Serve nodes and operators until SIGTERM." in page


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=lambda each: each.name)
def test_every_command_has_its_place_on_its_page(program: Program) -> None:
    group = importlib.import_module(program.cli).cli
    page = manual.page(group, program.command, WHEN, "1")
    names = group.list_commands(click.Context(group))
    headings = re.findall(r"^\.SS\n(.+)$", page, re.MULTILINE)
    found = {heading.replace("\\-", "-").split()[1] for heading in headings}
    assert found == set(names)


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_completion_script_asks_the_command(shell: str) -> None:
    text = completion.script(authority_cli, "keyvigil-authority", shell)
    assert "_KEYVIGIL_AUTHORITY_COMPLETE" in text
    assert "keyvigil-authority" in text


def test_the_command_answers_what_the_script_asks() -> None:
    asked = {"_KEYVIGIL_AUTHORITY_COMPLETE": "bash_complete", "COMP_WORDS": "keyvigil-authority no", "COMP_CWORD": "1"}
    done = subprocess.run(
        [command("keyvigil-authority")], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["plain,node"]


def errors(bill: dict[str, Any]) -> object:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill))


@cache
def made(program: Program) -> dict[str, Any]:
    return sbom.bill(program, ROOT, sys.path, WHEN)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=lambda each: each.name)
def test_a_bill_of_materials_is_cyclonedx_and_names_every_pin(program: Program) -> None:
    bill = made(program)
    assert errors(bill) is None
    pinned = re.findall(r"^(\S+==\S+)", (ROOT / program.lock).read_text(), re.MULTILINE)
    libraries = [each for each in bill["components"] if each["type"] == "library"]
    assert [f"{each['name']}=={each['version']}" for each in libraries] == pinned
    assert [each["name"] for each in libraries if not each["externalReferences"][0]["hashes"]] == []


def test_the_same_lock_gives_the_same_bill_and_another_one_another(tmp_path: Path) -> None:
    one, two = (sbom.bill(AUTHORITY, ROOT, [], WHEN) for _ in range(2))
    assert one == two
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    lock = tmp_path / AUTHORITY.lock
    lock.write_text(lock.read_text().replace("click==", "click==9"))
    assert sbom.bill(AUTHORITY, tmp_path, [], WHEN)["serialNumber"] != one["serialNumber"]


def test_a_bill_that_is_not_cyclonedx_is_seen() -> None:
    bill = copy.deepcopy(made(AUTHORITY))
    bill["components"][0]["type"] = "parcel"
    assert errors(bill) is not None


def test_the_models_are_on_the_node_s_bill_with_hash_and_licence_as_the_notice_has_them() -> None:
    models = [each for each in made(AGENT)["components"] if each["type"] == "machine-learning-model"]
    files = {path.name for path in (ROOT / "agent/models").iterdir() if path.suffix in {".onnx", ".npy", ".f16"}}
    notice = (ROOT / "agent/models/NOTICE").read_text()
    assert {each["name"] for each in models} == files
    assert [name for name in files if name not in notice] == []
    assert [each["name"] for each in models if not (each["hashes"] and each["licenses"])] == []
    assert [each for each in made(AUTHORITY)["components"] if each["type"] == "machine-learning-model"] == []
