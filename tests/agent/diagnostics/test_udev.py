"""The shipped rules are read by a strict parser of udev(7)'s language, because `udevadm verify` is not everywhere."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import drivers
from agent.diagnostics.udev import RULES_FILE, known_readers, rules_text
from drivers.usb_access import UsbFamily

MATCHES = {"SUBSYSTEM", "KERNEL", "ATTR", "ENV"}
ASSIGNS = {"GROUP": {"="}, "MODE": {"="}, "TAG": {"+="}, "ENV": {"="}}
PART = re.compile(r'([A-Z]+)(?:\{([A-Za-z_]+)\})?(==|!=|\+=|:=|=)"([^"\\]*)"')
GROUPS = {"plugdev", "dialout", "video", "audio", "tss"}


def parse(text: str) -> Iterator[list[tuple[str, str, str, str]]]:
    """(key, attribute, operator, value) of every part of every rule; raises `ValueError` for anything else."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        parts = []
        for piece in line.split(", "):
            match = PART.fullmatch(piece)
            if match is None:
                raise ValueError(f"line {number}: {piece!r} is no part of a rule")
            parts.append((match[1], match[2] or "", match[3], match[4]))
        yield parts


def families() -> list[UsbFamily]:
    """Every USB family that a shipped driver declares, found in the drivers themselves."""
    found = []
    for module in pkgutil.iter_modules(drivers.__path__, "drivers."):
        loaded = importlib.import_module(module.name)
        found += [value for value in vars(loaded).values() if isinstance(value, UsbFamily)]
    return found


def test_every_rule_is_well_formed() -> None:
    rules = list(parse(rules_text()))
    assert rules
    for rule in rules:
        keys = [key for key, _, operator, _ in rule if operator == "=="]
        assert keys, rule
        assert keys[0] == "SUBSYSTEM"
        assert set(keys) <= MATCHES
        for key, _, operator, _ in rule:
            if operator != "==":
                assert operator in ASSIGNS[key], rule
        assert [operator == "==" for _, _, operator, _ in rule] == sorted(
            (operator == "==" for _, _, operator, _ in rule), reverse=True
        ), "what is assigned stands behind what is matched"


def test_nothing_is_opened_to_everybody() -> None:
    for rule in parse(rules_text()):
        values = {key: value for key, attribute, _, value in rule if not attribute}
        assert values["MODE"] == "0660"
        assert values["GROUP"] in GROUPS


def test_sitting_here_gives_sensors_and_not_the_tpm() -> None:
    for rule in parse(rules_text()):
        uaccess = ("TAG", "", "+=", "uaccess") in rule
        assert uaccess is not (("SUBSYSTEM", "", "==", "tpmrm") in rule)


def test_the_file_comes_before_the_one_that_acts_on_uaccess() -> None:
    assert RULES_FILE < "73-seat-late.rules"


def test_every_reader_of_the_usb_drivers_is_in_the_rules() -> None:
    ids = {
        (f"{vendor:04x}", f"{product:04x}"): family.driver for family in families() for vendor, product in family.ids
    }
    assert len(ids) >= 2
    assert dict(known_readers()) == ids


@pytest.mark.parametrize("line", ['SUBSYSTEM="usb" MODE="0660"', "SUBSYSTEM==usb", 'MODE=="0660",GROUP="x"'])
def test_the_parser_refuses_what_udev_would(line: str) -> None:
    with pytest.raises(ValueError, match="no part of a rule"):
        list(parse(line))


@pytest.mark.skipif(shutil.which("udevadm") is None, reason="there is no udevadm")
def test_udevadm_takes_the_rules_where_it_can_verify(tmp_path: Path) -> None:
    (tmp_path / RULES_FILE).write_text(rules_text())
    done = subprocess.run(
        ["udevadm", "verify", str(tmp_path / RULES_FILE)], capture_output=True, text=True, check=False
    )
    if "Unknown command" in done.stderr or "not found" in done.stderr:
        pytest.skip("this udevadm has no verify")
    assert done.returncode == 0, done.stdout + done.stderr
