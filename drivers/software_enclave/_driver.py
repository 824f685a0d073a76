"""Finding and opening a software enclave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drivers.software_enclave._enclave import MASTER_FILE, SoftwareEnclave, identity, peek
from hal import Deadline, DeviceInfo, DeviceKind, Enclave, Unsupported


class SoftwareEnclaveDriver:
    """Keys in a folder of 0600 files; options `folder` (absolute) and `timeout` (seconds to wait for it, default 0)."""

    kind = DeviceKind.ENCLAVE

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The enclave in the folder that `options` names, if one was made there."""
        if "folder" not in options or not self.is_made(options):
            return []
        path, _ = _settings(options)
        serial = peek(path)
        return [] if serial is None else [identity(str(path), serial)]

    def is_made(self, options: Mapping[str, Any]) -> bool:
        """Whether there is a master key in the folder; where that cannot be seen, opening tells why and makes none."""
        path, _ = _settings(options)
        try:
            (path / MASTER_FILE).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> Enclave:
        """Claim the folder, making it and its master key when they are missing.

        Raises `Busy`, `PermissionDenied`, `NotFound`, `ProtocolError` for damaged files, `Unsupported` for options.
        """
        path, timeout = _settings(options)
        limit = Deadline.after(timeout)
        if deadline is not None:
            deadline.check("opening the software enclave")
            limit = deadline.within(timeout)
        return SoftwareEnclave.connect(path, limit)


def _settings(options: Mapping[str, Any]) -> tuple[Path, float]:
    if unknown := set(options) - {"folder", "timeout"}:
        raise Unsupported(
            f"unknown option {min(unknown)!r} of the software enclave", remedy="The options are `folder` and `timeout`."
        )
    folder, timeout = options.get("folder"), options.get("timeout", 0.0)
    if not isinstance(folder, str) or not folder.startswith("/") or "\0" in folder:
        raise Unsupported(
            "the option `folder` of the software enclave is not an absolute path",
            remedy="Name a folder that only the service user may read, beside the agent's state for instance.",
        )
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 <= timeout <= 600:
        raise Unsupported("the option `timeout` is not a number of seconds", remedy="Give 0 to 600 seconds.")
    return Path(folder), float(timeout)
