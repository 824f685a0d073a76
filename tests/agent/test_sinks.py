from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import ConfigError, SinkFailed
from agent.sinks import load_sink, load_sinks
from agent.sinks._keyctl import KEYRINGS, Keyctl, KeyErrno
from agent.sinks.file import FileSink
from agent.sinks.keyring import KeyringSink
from tests.agent.world import bundle


def file_sink(tmp_path: Path, **options: object) -> FileSink:
    return FileSink({"path": str(tmp_path / "keys.json"), **options})


def test_the_file_holds_every_network_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    sink = file_sink(tmp_path)
    blue = bundle("blue")
    sink.install(blue)
    sink.install(bundle("green", version=2))
    path = tmp_path / "keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = json.loads(path.read_bytes())
    assert sorted(content["networks"]) == ["blue", "green"]
    key = content["networks"]["blue"]["associations"][0]["key"]
    assert base64.b64decode(key) == blue.associations[0].key
    assert [(held.network, held.versions) for held in sink.held()] == [("blue", [3]), ("green", [2])]


def test_clearing_and_stopping_take_the_keys_away(tmp_path: Path) -> None:
    sink = file_sink(tmp_path)
    sink.install(bundle("blue"))
    sink.install(bundle("green"))
    sink.clear("blue")
    sink.clear("blue")
    assert [held.network for held in sink.held()] == ["green"]
    sink.stop()
    assert sink.held() == []


def test_keys_can_be_told_to_outlive_the_agent(tmp_path: Path) -> None:
    sink = file_sink(tmp_path, clear_on_stop=False)
    sink.install(bundle("blue"))
    sink.stop()
    assert [held.network for held in sink.held()] == ["blue"]


def test_the_hook_runs_after_the_file_changed_and_sees_no_key(tmp_path: Path) -> None:
    script = f"cat > {tmp_path}/told; cp {tmp_path}/keys.json {tmp_path}/seen; env > {tmp_path}/env"
    blue = bundle("blue")
    file_sink(tmp_path, hook=["sh", "-c", script]).install(blue)
    told = json.loads((tmp_path / "told").read_text())
    assert told == {"event": "installed", "network": "blue", "path": str(tmp_path / "keys.json")}
    secrets = [base64.b64encode(one.key).decode() for one in blue.associations]
    assert secrets[0] in (tmp_path / "seen").read_text()
    assert not any(secret in (tmp_path / "env").read_text() + (tmp_path / "told").read_text() for secret in secrets)


def test_a_hook_that_fails_is_reported_and_the_keys_are_there(tmp_path: Path) -> None:
    sink = file_sink(tmp_path, hook=["sh", "-c", "exit 3"])
    with pytest.raises(SinkFailed, match="status 3"):
        sink.install(bundle("blue"))
    assert [held.network for held in sink.held()] == ["blue"]


def test_a_foreign_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("something else")
    with pytest.raises(SinkFailed, match="damaged"):
        file_sink(tmp_path).install(bundle("blue"))
    assert (tmp_path / "keys.json").read_text() == "something else"


@pytest.mark.parametrize(
    ("kind", "options", "names"),
    [
        ("file", {"path": "relative.json"}, "relative.json"),
        ("file", {"path": "/nonexistent/folder/keys.json"}, "nonexistent"),
        ("file", {"path": "/tmp/keys.json", "mode": 7}, "mode"),
        ("file", {}, "path"),
        ("keyring", {"keyring": "everyone"}, "keyring"),
        ("keyring", {"prefix": "a:b"}, "prefix"),
        ("carrier-pigeon", {}, "carrier-pigeon"),
    ],
)
def test_bad_options_are_named(kind: str, options: dict[str, object], names: str) -> None:
    with pytest.raises(ConfigError, match=names) as refusal:
        load_sink(kind, options)
    assert refusal.value.remedy


def test_sinks_are_found_by_entry_point(tmp_path: Path) -> None:
    (sink,) = load_sinks([("file", {"path": str(tmp_path / "keys.json")})])
    assert isinstance(sink, FileSink)


@pytest.fixture
def keyring() -> KeyringSink:
    """A sink on the kernel's user keyring with a prefix of its own."""
    try:
        sink = KeyringSink({"keyring": "user", "prefix": f"keyvigil-test-{os.getpid()}"}, now=lambda: 1000.0)
        sink.held()
    except SinkFailed as error:
        pytest.skip(f"this kernel or sandbox refuses keyrings: {error}")
    return sink


def test_the_kernel_holds_the_keys_until_they_are_cleared(keyring: KeyringSink) -> None:
    blue = bundle("blue")
    try:
        keyring.install(blue)
        (held,) = keyring.held()
        assert (held.network, held.associations, held.versions) == ("blue", 4, [3])
        keyring.clear("blue")
        assert keyring.held() == []
    finally:
        keyring.clear("blue")


def test_the_payload_is_the_key_and_the_lease_its_timeout(keyring: KeyringSink) -> None:
    blue = bundle("blue", expires_at=1000.0 + 3600)
    try:
        keyring.install(blue)
        lines = [line.split() for line in Path("/proc/keys").read_text().splitlines() if "keyvigil-test" in line]
        lines = [line for line in lines if "R" not in line[1]]
        assert len(lines) == 4
        assert all(line[3] in {"59m", "1h", "60m"} for line in lines), lines
        kernel = Keyctl()
        payloads = set()
        for serial in kernel.members(KEYRINGS["user"]):
            if kernel.describe(serial).startswith(f"keyvigil-test-{os.getpid()}"):
                payloads.add(kernel._fetch(11, serial))
        assert payloads == {one.key for one in blue.associations}
    finally:
        keyring.clear("blue")


def test_a_new_epoch_replaces_the_old_keys_and_a_revoked_key_cannot_be_read(keyring: KeyringSink) -> None:
    kernel = Keyctl()
    try:
        keyring.install(bundle("blue", epoch=1))
        before = set(kernel.members(KEYRINGS["user"]))
        keyring.install(bundle("blue", epoch=2))
        gone = before - set(kernel.members(KEYRINGS["user"]))
        assert len(gone) == 4
        with pytest.raises(KeyErrno):
            kernel._fetch(11, gone.pop())
        assert keyring.held()[0].associations == 4
    finally:
        keyring.clear("blue")


def test_a_lease_that_has_passed_installs_nothing(keyring: KeyringSink) -> None:
    keyring.install(bundle("blue", expires_at=999.0))
    assert keyring.held() == []


def test_a_hook_that_fails_keeps_no_other_network_from_being_emptied_at_the_end(tmp_path: Path) -> None:
    sink = file_sink(tmp_path)
    for network in ("blue", "green", "red"):
        sink.install(bundle(network))
    told = file_sink(tmp_path, hook=["sh", "-c", f"cat >> {tmp_path}/told; exit 1"])
    with pytest.raises(SinkFailed, match="status 1"):
        told.stop()
    assert sink.held() == []
    assert (tmp_path / "told").read_text().count('"cleared"') == 3


FULL_DISK = """
import resource, sys
from agent.errors import SinkFailed
from agent.hardening import harden_process
from agent.sinks.file import FileSink
harden_process()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sink = FileSink({"path": sys.argv[1]})
try:
    sink.clear("blue")
except SinkFailed as error:
    print(error)
"""


def test_keys_whose_lease_passed_go_even_where_the_disk_is_full(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the full disk: the file without them cannot be written."""
    sink = file_sink(tmp_path)
    sink.install(bundle("blue"))
    sink.install(bundle("green"))
    script = [sys.executable, "-c", FULL_DISK, str(tmp_path / "keys.json")]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert "the keys of every network were removed" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_beside_the_file_goes_with_the_keys(tmp_path: Path) -> None:
    sink = file_sink(tmp_path)
    leftover = tmp_path / ".keys.json.new"
    for clear in (lambda: sink.clear("blue"), sink.stop):
        leftover.write_bytes(b"keys of an installation that a crash interrupted")
        clear()
        assert not leftover.exists()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_folder_where_others_may_plant_a_key_file_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(ConfigError, match="other users") as refusal:
        file_sink(tmp_path)
    assert "chmod" in refusal.value.remedy
    tmp_path.chmod(0o755)
    file_sink(tmp_path)


def test_a_lease_beyond_32_bits_of_seconds_is_not_a_key_without_end(keyring: KeyringSink) -> None:
    """The kernel takes the lower 32 bits, and no bits at all for no timeout."""
    try:
        keyring.install(bundle("blue", expires_at=1000.0 + 2**32))
        lines = [line.split() for line in Path("/proc/keys").read_text().splitlines() if "keyvigil-test" in line]
        assert [line[3] for line in lines if "R" not in line[1]].count("perm") == 0
    finally:
        keyring.clear("blue")
