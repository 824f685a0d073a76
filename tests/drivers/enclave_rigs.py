"""Enclaves that the contract suite runs on.

A rig is a context manager that takes an empty folder and yields a `Rig`; `RIGS` names them all. To add an enclave,
write such a function and add it to `RIGS` here or in `tests.drivers.token_rigs`: the tests of a capability that its
enclave lacks are skipped, and it is checked that everything behind a missing capability raises `Unsupported`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from hal import Driver, Enclave, EnclaveKind


@dataclass(frozen=True)
class Rig:
    """One enclave behind its driver, and what the suite may do to it.

    `options` open it and `other` opens a second enclave with keys of its own. `reboot` cuts and restores the power,
    `move_pcr` extends one register; both are `None` where there is no such thing.
    """

    driver: Driver
    kind: EnclaveKind
    options: dict[str, Any]
    other: dict[str, Any] | None = None
    reboot: Callable[[], None] | None = None
    move_pcr: Callable[[int], None] | None = None
    wrong_options: dict[str, Any] = field(default_factory=lambda: {"no-such-option": 1})

    def open(self, **changes: Any) -> Enclave:
        """The enclave, opened anew, with `changes` of its options."""
        return cast(Enclave, self.driver.open({**self.options, **changes}))

    def open_other(self) -> Enclave:
        """The second enclave."""
        if self.other is None:
            pytest.skip("this rig has one enclave only")
        return cast(Enclave, self.driver.open(self.other))


@contextmanager
def tpm2(folder: Path) -> Iterator[Rig]:
    """Two software TPMs of one maker."""
    pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
    if not shutil.which("swtpm"):
        pytest.skip("no software TPM: apt-get install swtpm swtpm-tools")
    from drivers.tpm2 import Tpm2Driver
    from simulators.devices.swtpm import Swtpm

    with ExitStack() as stack:
        tpms = []
        for name in ("first", "second"):
            (folder / name).mkdir()
            tpms.append(stack.enter_context(Swtpm(folder / name)))
        first, second = tpms
        yield Rig(
            driver=Tpm2Driver(),
            kind=EnclaveKind.TPM2,
            options={"tcti": first.tcti},
            other={"tcti": second.tcti},
            reboot=first.reboot,
            move_pcr=lambda register: first.extend(register, b"\x01" * 32),
        )


RIGS: dict[str, Callable[[Path], AbstractContextManager[Rig]]] = {"tpm2": tpm2}
