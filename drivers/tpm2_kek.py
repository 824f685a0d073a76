"""A key-encryption key sealed to the host's TPM: a plug-in for the authority, which itself knows no TPM software.

The sealed blob lies beside the authority's other state. The TPM that made it opens it, and no other one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from drivers.tpm2 import Tpm2Driver
from hal import DeviceError, NotFound

KEY_BYTES = 32
SECURE_BOOT = "7"
HIGHEST_PCR = 23


class TpmKind:
    """A `KekKind` that gives the 32 bytes of the key.

    Options: `tcti` (the TPM, by default the host's), `pcrs` (numbers with commas, by default 7, the secure boot policy:
    the key opens only while these PCRs are as they were when it was made).
    """

    warning = ""

    def create(self, folder: Path, options: Mapping[str, str], random: Callable[[int], bytes]) -> dict[str, str]:
        """A new key, sealed (TPM2_Create) under a name that none had before; raises `DeviceError`."""
        foreign = sorted({*options} - {"tcti", "pcrs"})
        if foreign:
            raise DeviceError(f"tpm has no option {foreign[0]!r}", remedy="Its options: tcti, pcrs.")
        name = f"kek-{random(8).hex()}.tpm"
        with Tpm2Driver().open(_device(options)) as enclave:
            blob = enclave.seal(random(KEY_BYTES), _selection(options.get("pcrs", SECURE_BOOT)))
        _write(folder / name, blob)
        return {"file": name, **options}

    def open(self, folder: Path, description: Mapping[str, str], random: Callable[[int], bytes]) -> bytes:
        """The key, over a session that encrypts it on the bus (TPM2_Unseal); raises `DeviceError`."""
        del random
        with Tpm2Driver().open(_device(description)) as enclave:
            return enclave.unseal(_read(_path(folder, description)))

    def destroy(self, folder: Path, description: Mapping[str, str]) -> None:
        """Overwrite and remove the blob: who kept a copy of it still needs this very TPM to open it."""
        path = _path(folder, description)
        if not path.exists():
            return
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        _sync(folder)


def _device(options: Mapping[str, str]) -> dict[str, str]:
    return {"tcti": options["tcti"]} if options.get("tcti") else {}


def _selection(text: str) -> tuple[int, ...]:
    numbers = [each.strip() for each in text.split(",")]
    if not all(each.isdecimal() and int(each) <= HIGHEST_PCR for each in numbers):
        raise DeviceError("pcrs are numbers from 0 to 23", remedy="Give them with commas: pcrs=0,7.")
    return tuple(sorted({int(each) for each in numbers}))


def _path(folder: Path, description: Mapping[str, str]) -> Path:
    return folder / Path(description.get("file", "")).name


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}", remedy="Restore it from its backup.") from None


def _write(path: Path, blob: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(blob)
        file.flush()
        os.fsync(file.fileno())
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
