"""Enclaves other than the TPM: a driver, the options that open one, and the device at the other end that can fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from drivers.configfs_tsm import ConfigfsTsmDriver
from drivers.pkcs11 import Pkcs11Driver
from drivers.software_enclave import SoftwareEnclaveDriver
from hal import EnclaveKind, PermissionDenied
from simulators.devices.configfs_tree import ConfigfsTree
from simulators.devices.faults import Faulty
from simulators.devices.softhsm import SoftHsm
from simulators.devices.software_folder import SoftwareFolder
from tests.drivers.enclave_rigs import Rig


@dataclass(frozen=True, kw_only=True)
class EnclaveRig(Rig):
    """`device` plays faults on the first enclave. Restarting changes nothing of these, and they have no PCRs."""

    device: Faulty


@contextmanager
def software_rig(folder: Path) -> Iterator[EnclaveRig]:
    """Two software enclaves in folders of their own."""
    device = SoftwareFolder(folder / "software")
    yield EnclaveRig(
        driver=SoftwareEnclaveDriver(),
        kind=EnclaveKind.SOFTWARE,
        options={"folder": str(device.folder)},
        other={"folder": str(folder / "other-software")},
        device=device,
    )
    device.mend()


@contextmanager
def pkcs11_rig(folder: Path) -> Iterator[EnclaveRig]:
    """Two SoftHSM2 tokens in one store: one process starts a module once, with one configuration."""
    if find_spec("pkcs11") is None:
        pytest.skip("no python-pkcs11: pip install 'keyvigil[pkcs11]'")
    if not shutil.which("softhsm2-util"):
        pytest.skip("no software token: apt-get install softhsm2")
    with ExitStack() as stack:
        first = stack.enter_context(SoftHsm(folder / "softhsm", "first"))
        second = stack.enter_context(SoftHsm(folder / "softhsm", "second"))
        yield EnclaveRig(
            driver=Pkcs11Driver(),
            kind=EnclaveKind.PKCS11,
            options=options_of(first),
            other=options_of(second),
            device=first,
        )


def options_of(token: SoftHsm) -> dict[str, Any]:
    """What opens a simulated token."""
    return {
        "module": str(token.module),
        "token": token.label,
        "pin_file": str(token.pin_file),
        "environment": token.environment(),
    }


@contextmanager
def configfs_rig(folder: Path) -> Iterator[EnclaveRig]:
    """A confidential VM's report interface, mounted."""
    try:
        tree = ConfigfsTree(folder / "configfs")
    except PermissionDenied as error:
        pytest.skip(f"{error}; {error.remedy}")
    with tree:
        options = {"root": str(tree.root), "timeout": 5}
        yield EnclaveRig(driver=ConfigfsTsmDriver(), kind=EnclaveKind.CONFIDENTIAL_VM, options=options, device=tree)


RIGS: dict[str, Callable[[Path], AbstractContextManager[EnclaveRig]]] = {
    "software": software_rig,
    "pkcs11": pkcs11_rig,
    "configfs-tsm": configfs_rig,
}
"""Every rig by the name of its driver's entry point."""
