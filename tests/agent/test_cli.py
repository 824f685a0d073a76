from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from agent.cli import explain
from agent.commands.enroll import _consent
from agent.devices import DeviceReport
from agent.diagnostics.inventory import Inventory, show
from agent.errors import AuthorityRefused
from agent.state import StateDirectory
from hal import DeviceInfo, DeviceKind, NotFound, Transport, available_drivers
from protocol.codec import ProtocolViolation
from protocol.messages import EnrolSession
from protocol.problems import ErrorCode, Problem
from simulators.devices.swtpm import Swtpm, SwtpmState

TOKEN = "kvj1." + "A" * 43 + "." + "0" * 64


def keyvigil(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def write_config(tmp_path: Path, tcti: str = "swtpm:path=/nonexistent", **changes: str) -> Path:
    (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
    sha256 = changes.pop("sha256", available_drivers()["tpm2"].sha256)
    more = changes.pop("more", "")
    path = tmp_path / "agent.toml"
    path.write_text(
        f"""
        [node]
        name = "node-a"
        state_dir = "{tmp_path / "state"}"
        authority = "https://127.0.0.1:1"
        [devices.enclave]
        driver = "tpm2"
        sha256 = "{sha256}"
        options = {{ tcti = "{tcti}" }}
        {more}
        """
    )
    return path


def assert_plain_error(done: subprocess.CompletedProcess[str], status: int, *says: str) -> None:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "remedy: " in done.stderr
    for text in says:
        assert text in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["nosuch"], ["join"], ["agent", "run"], ["agent"], ["status", "--config", "/nonexistent.toml"], ["--what"]],
)
def test_usage_errors_end_with_status_2(arguments: list[str]) -> None:
    assert_plain_error(keyvigil(*arguments), 2)


def test_help_and_version_are_no_errors() -> None:
    assert keyvigil("--help").returncode == 0
    assert "keyvigil" in keyvigil("--version").stdout


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    config = write_config(tmp_path, more="[presentation]\nminimum = 2")
    assert_plain_error(keyvigil("status", "--config", str(config)), 2, "presentation", "minimum", "unknown key")


def test_errors_are_json_when_output_is(tmp_path: Path) -> None:
    done = keyvigil("status", "--config", "/nonexistent.toml", "--json")
    assert done.returncode == 2
    assert set(json.loads(done.stderr)) == {"error", "remedy"}


def test_a_missing_tpm_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    done = keyvigil("join", "--config", str(config), "--token-file", "-", stdin=TOKEN)
    assert_plain_error(done, 1)


def test_a_driver_that_is_not_the_pinned_one_is_not_loaded(tmp_path: Path) -> None:
    config = write_config(tmp_path, sha256="0" * 64)
    done = keyvigil("join", "--config", str(config), "--token-file", "-", stdin=TOKEN)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_crooked_token_is_not_repeated(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    done = keyvigil("join", "--config", str(config), "--token-file", "-", stdin="kvj1.verysecret")
    assert_plain_error(done, 2, "not a join token")
    assert "verysecret" not in done.stderr


def test_a_token_file_that_is_missing_or_empty(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    (tmp_path / "empty").write_text("\n")
    for name in ("absent", "empty"):
        done = keyvigil("join", "--config", str(config), "--token-file", str(tmp_path / name))
        assert_plain_error(done, 2, "join token")


def test_an_authority_that_is_not_there(tmp_path: Path, tpm_state: SwtpmState) -> None:
    with Swtpm(tpm_state.copy(tmp_path / "tpm")) as swtpm:
        config = write_config(tmp_path, swtpm.tcti)
        done = keyvigil("join", "--config", str(config), "--token-file", "-", stdin=TOKEN)
    assert_plain_error(done, 1, "did not answer")


def test_running_or_enrolling_before_joining_names_the_remedy(tmp_path: Path) -> None:
    config = str(write_config(tmp_path))
    assert_plain_error(keyvigil("agent", "run", "--config", config), 1, "keyvigil join")
    (tmp_path / "ticket").write_text("kvt1." + "0" * 16 + "." + "A" * 43)
    arguments = ["--admin", "alice", "--ticket-file", str(tmp_path / "ticket"), "--pin-file", str(tmp_path / "ticket")]
    assert_plain_error(keyvigil("enroll", "--config", config, *arguments), 1, "keyvigil join")


def test_a_state_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    (tmp_path / "state").chmod(0o755)
    assert_plain_error(keyvigil("status", "--config", str(config)), 1, "open to other users", "chmod 700")


def test_status_of_a_node_that_has_not_joined(tmp_path: Path) -> None:
    config = str(write_config(tmp_path))
    done = keyvigil("status", "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["joined"], facts["running"], facts["profiles"]) == (False, False, [])
    assert keyvigil("status", "--config", config).returncode == 0


def test_a_damaged_identity_is_an_error_and_not_a_traceback(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    (tmp_path / "state" / "identity.json").write_bytes(b"\xff\x00garbage")
    assert_plain_error(keyvigil("status", "--config", str(config)), 1, "identity.json", "damaged")


def test_devices_prints_the_hash_to_pin(tmp_path: Path) -> None:
    done = keyvigil("devices", "--json")
    assert done.returncode == 0, done.stderr
    drivers = {line["driver"]: line for line in json.loads(done.stdout)["drivers"]}
    assert drivers["tpm2"]["sha256"] == available_drivers()["tpm2"].sha256


def test_devices_shows_an_attached_enclave(tmp_path: Path, tpm_state: SwtpmState) -> None:
    with Swtpm(tpm_state.copy(tmp_path / "tpm")) as swtpm:
        config = write_config(tmp_path, swtpm.tcti)
        done = keyvigil("devices", "--config", str(config), "--json")
    drivers = {line["driver"]: line for line in json.loads(done.stdout)["drivers"]}
    assert [info["transport"] for info in drivers["tpm2"]["attached"]] == ["virtual"]


def test_no_command_can_dump_core() -> None:
    script = (
        "import resource, agent.hardening as h; h.harden_process();"
        "print(resource.getrlimit(resource.RLIMIT_CORE), open('/proc/self/status').read())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(0, 0)")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("no reader"), 1),
        (ProtocolViolation("garbage\x1b[31m"), 1),
        (OSError(28, "No space left on device", "/var/x"), 1),
        (AuthorityRefused(Problem(title="no", status=403, code=ErrorCode.TOKEN_INVALID, remedy="ask")), 1),
        (KeyError("defect"), 1),
    ],
)
def test_every_error_has_a_text_a_remedy_and_no_control_characters(error: Exception, status: int) -> None:
    trouble = explain(error)
    assert trouble.status == status
    assert trouble.error.isprintable()
    assert trouble.remedy
    assert "defect" not in trouble.error


def test_joining_while_the_agent_runs_is_refused(tmp_path: Path) -> None:
    """The agent would write its old identity back when it renews the certificate."""
    config = write_config(tmp_path)
    state = StateDirectory.open(tmp_path / "state")
    with state.daemon_lock():
        done = keyvigil("join", "--config", str(config), "--token-file", "-", "--rejoin", stdin=TOKEN)
    assert_plain_error(done, 1, "already running")


def test_a_device_whose_serial_number_is_markup_is_listed() -> None:
    """A USB device chooses its texts: they neither colour the table nor end the command."""
    serial, name = "[/x] [red]A[/]", "cam\x1b[2J\\"
    info = DeviceInfo(DeviceKind.CAMERA, "opencv", Transport.V4L2, "video0", serial=serial, name=name)
    console = Console(file=io.StringIO(), width=160)
    show(Inventory.of(None, [DeviceReport("opencv", "0" * 64, (info,))], [], []), console)
    shown = console.file.getvalue()
    assert serial in shown
    assert "\x1b[2J" not in shown


def test_the_whole_consent_text_is_shown() -> None:
    """Its hash is agreed to, so that nothing of it may be cut off or taken for markup."""
    text = "word " * 2000 + "and [bold]the end[/bold]\x1b[31m"
    session = EnrolSession(
        enrolment_id="e",
        nonce=b"n",
        record_id="r",
        sealed_share=b"s" * 32,
        approval_key=b"k" * 65,
        modalities=["face"],
        consent_version="1",
        consent_text=text,
        expires_at=1.0,
    )
    console = Console(file=io.StringIO(), width=80)
    consent = _consent(session, console, accepted=True)
    shown = console.file.getvalue()
    assert shown.split().count("word") == 2000
    assert "and [bold]the end[/bold]" in " ".join(shown.split())
    assert "\x1b" not in shown
    assert consent.sha256 == hashlib.sha256(text.encode()).hexdigest()
