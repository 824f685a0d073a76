"""Enclaves other than the TPM: a driver, the options that open one, and the device at the other end that can fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest

from drivers.configfs_tsm import ConfigfsTsmDriver
from drivers.pkcs11 import Pkcs11Driver
from drivers.software_enclave import SoftwareEnclaveDriver
from hal import Driver, Enclave, EnclaveKind, PermissionDenied
from simulators.devices.configfs_tree import ConfigfsTree
from simulators.devices.faults import Faulty
from simulators.devices.softhsm import SoftHsm
from simulators.devices.software_folder import SoftwareFolder


@dataclass(frozen=True)
class EnclaveRig:
    """`options` open one enclave, `other` another one of the same kind; `device` plays faults on the first.

    Restarting changes nothing of these, and they have no PCRs: `reboot` and `move_pcr` are `None`.
    """

    kind: EnclaveKind
    driver: Driver
    options: dict[str, Any]
    other: dict[str, Any] | None
    device: Faulty
    reboot: Callable[[], None] | None = None
    move_pcr: Callable[[int], None] | None = None
    wrong_options: dict[str, Any] = field(default_factory=lambda: {"no-such-option": 1})

    def open(self, **changes: Any) -> Enclave:
        """The first enclave."""
        return cast(Enclave, self.driver.open({**self.options, **changes}))

    def open_other(self) -> Enclave:
        """The second enclave."""
        if self.other is None:
            pytest.skip("this rig has one enclave only")
        return cast(Enclave, self.driver.open(self.other))


@contextmanager
def software_rig(folder: Path) -> Iterator[EnclaveRig]:
    """Two software enclaves in folders of their own."""
    device = SoftwareFolder(folder / "software")
    yield EnclaveRig(
        EnclaveKind.SOFTWARE,
        SoftwareEnclaveDriver(),
        {"folder": str(device.folder)},
        {"folder": str(folder / "other-software")},
        device,
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
        yield EnclaveRig(EnclaveKind.PKCS11, Pkcs11Driver(), options_of(first), options_of(second), first)


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
        yield EnclaveRig(EnclaveKind.CONFIDENTIAL_VM, ConfigfsTsmDriver(), options, None, tree)


RIGS: dict[str, Callable[[Path], AbstractContextManager[EnclaveRig]]] = {
    "software": software_rig,
    "pkcs11": pkcs11_rig,
    "configfs-tsm": configfs_rig,
}
"""Every rig by the name of its driver's entry point."""
