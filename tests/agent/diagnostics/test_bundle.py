"""The support archive: secrets are planted wherever a node has any, and looked for in every form and layer of it."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.config import load_config
from agent.devices import DeviceReport
from agent.diagnostics.attached import unclaimed
from agent.diagnostics.bundle import Material, check_target, write_bundle
from agent.diagnostics.findings import Finding, Severity
from agent.errors import ConfigError
from agent.identity import TlsKey
from hal import DeviceInfo, DeviceKind, Transport, available_drivers
from protocol.tokens import JoinToken
from tests.agent.diagnostics.trees import Tree
from tests.system.needles import DigitsNeedle, Needle, files_below, leaks

PHRASES = {
    "api key": "hunter2-Zebra-Quilt",
    "hook argument": "swordfishOmega77",
    "camera password": "Tr0mb0ne!plaza",
    "camera user": "cam-user-Kestrel",
    "query token": "qtok-Yodel-5521",
    "environment": "env-secret-Gazelle-9",
    "log word": "log-secret-Marzipan",
    "nested option": "nested-Pelican-secret",
    "usb serial": "USB-SERIAL-Walrus-1",
    "modality option": "modality-secret-Ocelot",
    "presence option": "presence-secret-Heron",
    "password in a path": "tlJwpb0Badger",
    "password of a place": "plAce9Marmot",
}
PINS = {"PIN option": "48291736", "numeric PIN option": "73915284", "PIN in the log": "61528394"}
FEATURES = (np.random.default_rng(5).normal(0, 900, 192)).astype("<i2")


@dataclass(frozen=True)
class Site:
    """A node's folder full of secrets, and every secret as a needle."""

    folder: Path
    needles: list[Needle]
    environment: Mapping[str, str]

    @property
    def config(self) -> Path:
        return self.folder / "agent.toml"

    @property
    def log(self) -> Path:
        return self.folder / "agent.log"


def secret(name: str) -> bytes:
    """32 bytes of its own for each name."""
    seed = int.from_bytes(name.encode(), "big") % 2**32
    return bytes(np.random.default_rng(seed).integers(0, 256, 32, dtype=np.uint8))


SEALED = ("delivery key", "sealed record", "pepper", "outbox", "standing", "delivery log", "owner auth", "pair key")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Everything that may lie about: state, sinks, handed-over secrets, captures, a log."""
    state = tmp_path / "state"
    (state / "profiles").mkdir(mode=0o700, parents=True)
    state.chmod(0o700)
    key = TlsKey.generate()
    token = JoinToken(secret("join token"), "ab" * 32).format()
    picture = cv2.imencode(".png", np.random.default_rng(1).integers(0, 255, (64, 64), dtype=np.uint8))[1].tobytes()
    b64 = {name: json.dumps(secret(name).hex()) for name in SEALED}
    files: dict[str, bytes] = {
        "state/identity.json": f'{{"private": {b64["delivery key"]}}}'.encode(),
        "state/tls-0123456789abcdef.pem": key.pem(),
        "state/key.der": key.private.private_numbers().private_value.to_bytes(32, "big"),
        "state/profiles/00ff.record": secret("sealed record") + secret("pepper") + FEATURES.tobytes(),
        "state/outbox.json": b64["outbox"].encode(),
        "state/standing.json": b64["standing"].encode(),
        "state/deliveries.json": b64["delivery log"].encode(),
        "state/owner.auth": secret("owner auth"),
        f"state/{PHRASES['log word']}.txt": b"a name that tells",
        "keys.json": secret("pair key"),
        "join.token": token.encode(),
        "ticket": token.encode(),
        "pin": PINS["PIN option"].encode(),
        "finger.png": picture,
        "agent.log": log(token).encode(),
        "agent.toml": configuration(tmp_path).encode(),
    }
    for name, content in files.items():
        with os.fdopen(os.open(tmp_path / name, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
    numbers = key.private.private_numbers().private_value.to_bytes(32, "big")
    needles = [
        *(Needle.of_text(name, text) for name, text in PHRASES.items()),
        *(DigitsNeedle(name, [digits.encode()]) for name, digits in PINS.items()),
        *(Needle.of_bytes(name, secret(name)) for name in (*SEALED, "join token")),
        Needle.of_text("the join token", token),
        Needle.of_bytes("the TLS key", numbers),
        Needle.of_bytes("the TLS key's PEM", key.pem().split(b"\n")[1]),
        Needle.of_vector("a template", FEATURES.tobytes()),
        Needle.of_bytes("a picture", picture[60:400]),
        Needle("any PNG", [b"\x89PNG\r\n\x1a\n"]),
    ]
    environment = {**os.environ, "KEYVIGIL_PIN": PHRASES["environment"], "SOME_TOKEN": PHRASES["environment"] + "x"}
    return Site(tmp_path, needles, environment)


def configuration(folder: Path) -> str:
    user, password = PHRASES["camera user"], PHRASES["camera password"]
    source = f"http://{user}:{password}@127.0.0.1:1/stream.mjpg?token={PHRASES['query token']}"
    sha256 = available_drivers()["opencv"].sha256
    return f"""
    [node]
    name = "node-a"
    state_dir = "{folder / "state"}"
    authority = "https://127.0.0.1:1"
    [devices.enclave]
    driver = "pkcs11"
    sha256 = "{sha256}"
    options = {{ library = "/usr/lib/softhsm/libsofthsm2.so", pin = "{PINS["PIN option"]}" }}
    [devices.face]
    driver = "opencv"
    sha256 = "{sha256}"
    options = {{ source = "{source}" }}
    [devices.voice]
    driver = "portaudio"
    sha256 = "{sha256}"
    options = {{ pin = {PINS["numeric PIN option"]}, api_key = "{PHRASES["api key"]}" }}
    [devices.fingerprint]
    driver = "uru4000"
    sha256 = "{sha256}"
    options = {{ usbip = "127.0.0.1:1", extra = {{ deep = ["{PHRASES["nested option"]}"] }} }}
    [presence]
    driver = "logind-seat"
    sha256 = "{sha256}"
    options = {{ account = "{PHRASES["presence option"]}", seat = "seat9" }}
    [modalities.voice.options]
    licence = "{PHRASES["modality option"]}"
    width = 7
    [prompt]
    hook = ["/bin/true", "--password", "{PHRASES["hook argument"]}"]
    [[sinks]]
    kind = "file"
    options = {{ path = "{folder / "keys.json"}", hook = ["/bin/true", "{PHRASES["hook argument"]}"] }}
    """


def log(token: str) -> str:
    """The agent's lines, and what must not be in a log but might once be."""
    word, pin = PHRASES["log word"], PINS["PIN in the log"]
    lines = [
        {"event": "the agent starts", "version": "0.1.0", "node": "node-a"},
        {"event": "timings", "kind": "presentation", "total": 3.5, "match": 0.25, "score": float(pin)},
        {"event": f"PIN {pin} for {word}", "error": f"token={token} pin: {pin} {secret('pepper').hex()}"},
        {"event": "a capture failed", "error": f"[{', '.join(map(str, FEATURES))}]", word: "x", "blob": word},
        {"event": "a capture failed", "modality": "face", "error": "the device went away", "pair": [pin]},
        {"event": "standing", "key": int(pin), "nested": {"a": word}},
    ]
    stamped = [json.dumps({"at": 1.5, "level": "info"} | line) for line in lines]
    foreign = [
        f"Traceback: {word} {token}",
        f'{{"at": "{word}"}}',
        word,
        secret("pair key").hex(),
        f"[1, 2] {PHRASES['password in a path']} {PHRASES['password of a place']}",
        "\x00\xff",
    ]
    plain = f"2026-01-01T00:00:00Z WARNING the device went away error={word} pin={pin} {token}"
    return "\n".join([*stamped, *foreign, plain]) + "\n"


def layers(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """The archive as it lies there, unpacked, and each member."""
    yield "the archive", archive
    unpacked = gzip.decompress(archive)
    yield "the tar", unpacked
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            yield member.name, content.read()


def members(archive: Path) -> dict[str, Any]:
    found = {name.rpartition("/")[2]: data for name, data in layers(archive.read_bytes())}
    return {name: json.loads(data) for name, data in found.items() if name.endswith(".json")} | {
        "log.txt": found["log.txt"].decode()
    }


def make(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = ["diag", "--unattended", "--config", str(site.config), "--bundle", str(site.folder / "b.tgz")]
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *argv, "--log", str(site.log), *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env=site.environment,
        stdin=subprocess.DEVNULL,
    )


def test_no_secret_of_the_node_is_in_the_archive_or_on_the_screen(site: Site) -> None:
    """The whole command, in a process of its own, with secrets in every place that has any."""
    done = make(site, "--json")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1, "the devices are not there"
    archive = site.folder / "b.tgz"
    assert leaks(site.needles, iter(layers(archive.read_bytes()))) == []
    names = set(json.loads(done.stdout)["bundle"]["members"])
    assert names == set(members(archive))
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600


def test_the_scanner_finds_each_secret_where_it_was_planted(site: Site) -> None:
    """The control: a plain archive of the same folder gives every one of them away."""
    site_files = site.folder
    (site_files / "environ").write_bytes("\n".join(site.environment.values()).encode())
    usb_tree(site_files / "usb")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, _ in files_below(site_files):
            tar.add(path, path.name)
    found = {line.rpartition(" in ")[0] for line in leaks(site.needles, iter(layers(buffer.getvalue())))}
    assert found == {needle.name for needle in site.needles}


def material(site: Site, **changes: Any) -> Material:
    given = {
        "config": load_config(site.config),
        "findings": [],
        "reports": [],
        "unclaimed": [],
        "missing": [],
        "log": site.log,
        "environment": site.environment,
        "now": 2e9,
    }
    return Material(**(given | changes))


def usb_tree(root: Path) -> Tree:
    """A machine with a USB device whose serial number is nobody's business, and a camera without a kernel driver."""
    tree = Tree(root)
    tree.usb("1-1", "1b3f", "0001", "Webcam")
    tree.interface("1-1", "0e")
    tree.file("/sys/bus/usb/devices/1-1/serial", PHRASES["usb serial"])
    return tree


def test_devices_without_a_driver_are_described_without_their_serial_number(site: Site, tmp_path: Path) -> None:
    machine = usb_tree(tmp_path / "usb").machine
    write_bundle(site.folder / "c.tgz", material(site, machine=machine, unclaimed=unclaimed(machine, [])))
    assert leaks(site.needles, iter(layers((site.folder / "c.tgz").read_bytes()))) == []
    devices = members(site.folder / "c.tgz")["devices.json"]
    assert devices["usb"][0]["identity"] == "1b3f:0001"
    assert devices["unclaimed"][0]["remedy"] == "Load the driver: sudo modprobe uvcvideo"


def test_secrets_in_sentences_are_scrubbed(site: Site) -> None:
    """A driver of a third party might repeat an option in its error."""
    said = [
        f"cannot log in with pin={PINS['PIN option']}",
        f"bad option {PHRASES['api key']!r}, {PHRASES['nested option']}",
        f"http://{PHRASES['camera user']}:{PHRASES['camera password']}@host refused",
        f"key {secret('pair key').hex()} and {JoinToken(secret('join token'), 'ab' * 32).format()}",
        f"hook --password {PHRASES['hook argument']}; {PHRASES['environment']}",
        f"code {PINS['numeric PIN option']}",
        f"no licence {PHRASES['modality option']}, account {PHRASES['presence option']}",
        f"rtsp://10.0.0.9/user=admin_password={PHRASES['password in a path']}_channel=1 does not answer",
    ]
    findings = [Finding("a.b", Severity.ERROR, text, text, text, {"fact": text}) for text in said]
    write_bundle(site.folder / "c.tgz", material(site, findings=findings))
    assert leaks(site.needles, iter(layers((site.folder / "c.tgz").read_bytes()))) == []
    assert members(site.folder / "c.tgz")["findings.json"][0]["what"] == "cannot log in with pin=[value]"


def test_a_camera_s_password_in_its_path_stays_here(site: Site) -> None:
    """Many network cameras take it there, and nowhere else."""
    path = f"/user=admin_password={PHRASES['password in a path']}_channel=1"
    text = site.config.read_text().replace("/stream.mjpg", path)
    site.config.write_text(text)
    attached = DeviceInfo(
        DeviceKind.CAMERA, "opencv", Transport.VIRTUAL, f"http://127.0.0.1:1{path}", name=path, serial="0123456789"
    )
    third = replace(attached, port=f"http://user:{PHRASES['password of a place']}@127.0.0.1:1/")
    reports = [DeviceReport("opencv", "0" * 64, (attached, third))]
    findings = [Finding("a.b", Severity.ERROR, f"the camera at http://127.0.0.1:1{path} went away", path)]
    write_bundle(site.folder / "c.tgz", material(site, reports=reports, findings=findings))
    assert leaks(site.needles, iter(layers((site.folder / "c.tgz").read_bytes()))) == []
    found = members(site.folder / "c.tgz")
    assert found["configuration.json"]["devices"]["face"]["options"]["source"] == "http://127.0.0.1:1"
    assert found["devices.json"]["drivers"][0]["attached"][0]["serial"] == "0123456789"


def test_what_helps_is_still_there(site: Site) -> None:
    """An empty archive would keep every secret, too."""
    make(site)
    found = members(site.folder / "b.tgz")
    assert {"manifest.json", "versions.json", "findings.json", "devices.json", "configuration.json"} <= set(found)
    assert found["versions.json"]["packages"]["cryptography"]
    drivers = {line["driver"]: line["sha256"] for line in found["devices.json"]["drivers"]}
    assert drivers["opencv"] == available_drivers()["opencv"].sha256
    config = found["configuration.json"]
    assert config["devices"]["face"]["options"]["source"] == "http://127.0.0.1:1/stream.mjpg"
    assert config["devices"]["enclave"]["options"]["pin"] == "(left out)"
    assert config["presence"]["options"] == {"account": "(left out)", "seat": "seat9"}
    assert config["modalities"]["voice"]["options"] == {"licence": "(left out)", "width": 7}
    assert config["prompt"]["hook"] == {"program": "true", "arguments": 2}
    assert {entry["name"] for entry in found["state.json"]} >= {"identity.json", "profiles/00ff.record"}
    assert any(found_["id"] == "authority.joined" or "authority" in found_["id"] for found_ in found["findings.json"])


def test_the_log_keeps_what_the_agent_says_by_itself(site: Site) -> None:
    write_bundle(site.folder / "c.tgz", material(site))
    found = members(site.folder / "c.tgz")
    lines = [json.loads(line) for line in found["log.txt"].splitlines() if line.startswith("{")]
    assert lines[0]["event"] == "the agent starts"
    assert (lines[1]["total"], lines[1]["match"], "score" in lines[1]) == (3.5, 0.25, False)
    assert (lines[4]["modality"], lines[4]["error"]) == ("face", "the device went away")
    assert "WARNING the device went away" in found["log.txt"]
    assert found["manifest.json"]["left_out"]["log lines"] == "6 lines of another form"


def test_the_manifest_says_what_is_in_it_and_what_is_not(site: Site) -> None:
    import hashlib

    write_bundle(site.folder / "c.tgz", material(site))
    inside = {name.rpartition("/")[2]: data for name, data in layers((site.folder / "c.tgz").read_bytes())}
    manifest = json.loads(inside["manifest.json"])
    listed = {name: entry["sha256"] for name, entry in manifest["members"].items()}
    actual = {name: hashlib.sha256(inside[name]).hexdigest() for name in listed}
    assert listed == actual
    assert set(listed) | {"manifest.json", "the archive", "the tar"} == set(inside)
    assert {"state directory", "log", "configuration", "sensors"} <= set(manifest["left_out"])


def test_members_carry_no_user_and_no_path(site: Site) -> None:
    write_bundle(site.folder / "c.tgz", material(site))
    with tarfile.open(site.folder / "c.tgz") as tar:
        for entry in tar:
            assert (entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, "", "")
            assert entry.isfile()
            assert entry.name.startswith("keyvigil-diag/")


def test_an_archive_without_a_configuration(site: Site) -> None:
    write_bundle(site.folder / "c.tgz", material(site, config=None, log=site.log))
    assert "configuration.json" not in members(site.folder / "c.tgz")


@pytest.mark.parametrize("make_there", ["file", "link"])
def test_nothing_is_overwritten_and_no_link_followed(site: Site, make_there: str) -> None:
    target = site.folder / "there.tgz"
    if make_there == "file":
        target.write_bytes(b"mine")
    else:
        target.symlink_to(site.folder / "elsewhere")
    with pytest.raises(ConfigError, match="there already"):
        check_target(target)
    with pytest.raises(FileExistsError):
        write_bundle(target, material(site))
    assert not (site.folder / "elsewhere").exists()
