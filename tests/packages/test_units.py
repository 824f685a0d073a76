"""Units, users, folders and scripts of the packages."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from packages.programs import PROGRAMS, Program
from tests.conftest import ROOT

HERE = ROOT / "packages"
EXPOSURE = {"agent": 15, "authority": 11}
"""Tenths, as docs/packages.md tells them."""

every = pytest.mark.parametrize("program", PROGRAMS.values(), ids=lambda each: each.name)
analysed = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
arranged = pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="there is no systemd-sysusers")


def unit(program: Program) -> Path:
    return HERE / program.name / f"root/usr/lib/systemd/system/{program.package}.service"


def settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def within(file: Path, tenths: int) -> bool:
    """Whether systemd finds this unit exposed by no more than so many tenths."""
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={tenths}", str(file)]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@analysed
@every
def test_a_service_is_as_little_exposed_as_the_documents_say(program: Program, tmp_path: Path) -> None:
    assert within(unit(program), EXPOSURE[program.name])
    weaker = tmp_path / unit(program).name
    weaker.write_text(re.sub(r"^(NoNewPrivileges|SystemCallFilter)=.*$", "", unit(program).read_text(), flags=re.M))
    assert not within(weaker, EXPOSURE[program.name])


@every
def test_a_service_starts_only_where_it_was_configured_and_writes_only_its_own_state(program: Program) -> None:
    has = settings(unit(program).read_text())
    assert has["ConditionPathExists"][-1].startswith("/var/lib/keyvigil")
    assert has["LimitCORE"] == ["0"]
    assert has["ProtectSystem"] == ["strict"]
    assert has["StateDirectoryMode"] == ["0700"]
    assert "ReadWritePaths" not in has
    assert has["User"] != ["root"]


def test_only_a_drop_in_that_nobody_gets_unasked_gives_a_capability_or_the_keyboards() -> None:
    for program in PROGRAMS.values():
        has = settings(unit(program).read_text())
        assert has["CapabilityBoundingSet"] == has["AmbientCapabilities"] == [""]
        assert [each for each in has.get("DeviceAllow", []) if "input" in each] == []
    drop_ins = HERE / "agent/root/usr/share/keyvigil/drop-ins"
    assert settings((drop_ins / "data-plane.conf").read_text())["AmbientCapabilities"] == ["CAP_NET_ADMIN"]
    assert settings((drop_ins / "presence-button.conf").read_text())["DeviceAllow"] == ["char-input r"]


@arranged
@every
def test_users_and_folders_are_made_as_the_unit_wants_them(program: Program, tmp_path: Path) -> None:
    shutil.copytree(HERE / program.name / "root", tmp_path / "root")
    root = f"--root={tmp_path / 'root'}"
    subprocess.run(["systemd-sysusers", root, f"{program.package}.conf"], check=True, capture_output=True)
    has = settings(unit(program).read_text())
    users = [line.split(":") for line in (tmp_path / "root/etc/passwd").read_text().splitlines()]
    home = [user[5] for user in users if user[0] == has["User"][0]]
    assert home == [f"/var/lib/{has['StateDirectory'][0]}"]
    rules = (HERE / program.name / f"root/usr/lib/tmpfiles.d/{program.package}.conf").read_text()
    assert f"d {home[0]} 0700 {has['User'][0]} {has['Group'][0]}\n" in rules


@every
def test_scripts_are_shell_and_never_start_what_did_not_run(program: Program) -> None:
    for name in ("postinst", "prerm", "postrm"):
        script = HERE / program.name / name
        assert script.stat().st_mode & stat.S_IXUSR
        assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
        orders = set(re.findall(r"systemctl (?:disable )?(--now|\S+)", script.read_text()))
        assert orders <= {"daemon-reload", "try-restart", "--now"}
