"""Finding and opening a TPM; importable where tpm2-pytss is not installed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drivers.tpm2._options import Settings
from drivers.tpm2._probe import probe
from hal import Deadline, DeviceError, DeviceInfo, DeviceKind, Enclave, NotFound, Unsupported

_INSTALL = (
    "Install the TPM software stack: apt-get install libtss2-esys-3.0.2-0 libtss2-mu0 libtss2-rc0 libtss2-tctildr0 "
    "libtss2-fapi1 libtss2-tcti-device0 libtss2-tcti-swtpm0; and then the Python package: pip install 'keyvigil[tpm]'."
)


class Tpm2Driver:
    """TPM 2.0 enclaves.

    Options: `tcti` (default `device:/dev/tpmrm0`), `timeout` (seconds an operation, default 10), and `owner_auth_file`
    (a private file with the owner hierarchy's authorisation value, where one is set).
    """

    kind = DeviceKind.ENCLAVE

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The TPM that `options` names, or without `tcti` every resource-managed TPM of the kernel."""
        if "tcti" in options:
            candidates = [dict(options)]
        else:
            nodes = sorted(Path("/dev").glob("tpmrm[0-9]*"))
            candidates = [{**options, "tcti": f"device:{node}"} for node in nodes]
        return [info for candidate in candidates if (info := self._look(candidate)) is not None]

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> Enclave:
        """Connect; raises `NotFound`, `PermissionDenied`, `Busy`, `TimedOut`, and `Unsupported` without libtss2.

        A TPM has the capability `SHARED`, all but the kernel's raw device: several programs may have it open.
        """
        settings = Settings.parse(options)
        opening = (deadline or Deadline.after(settings.timeout)).within(settings.timeout)
        opening.check("opening the TPM")
        # The C library reads this once, at its first message, and would otherwise write to the terminal.
        os.environ.setdefault("TSS2_LOG", "all+NONE")
        try:
            from drivers.tpm2._enclave import Tpm2Enclave
        except ImportError as error:
            raise Unsupported(f"the TPM software stack cannot be loaded: {error}", remedy=_INSTALL) from error
        probe(settings.tcti, opening)
        return Tpm2Enclave.connect(settings, opening)

    def _look(self, options: Mapping[str, Any]) -> DeviceInfo | None:
        """Identity of an attached TPM; one that is there but cannot be opened is listed by its place alone."""
        settings = Settings.parse(options)
        try:
            with self.open(options) as enclave:
                return enclave.info
        except (NotFound, Unsupported):
            return None
        except DeviceError:
            return DeviceInfo(DeviceKind.ENCLAVE, "tpm2", settings.transport, settings.tcti)
