"""How long the operations of enclaves other than a TPM take through their drivers.

    python benchmarks/bench_enclaves.py [--rounds 200] [--json]

A SoftHSM2 token, a software enclave and a simulated report interface are made for the run; what cannot be made here is
left out. Figures in milliseconds: median, 95th percentile, maximum.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_tpm import measure

from drivers.configfs_tsm import ConfigfsTsmDriver
from drivers.pkcs11 import Pkcs11Driver
from drivers.software_enclave import SoftwareEnclaveDriver
from hal import Capability, DeviceError, Enclave, KeyUse
from simulators.devices.configfs_tree import ConfigfsTree
from simulators.devices.softhsm import SoftHsm

NONCE, AUTH, DIGEST = bytes(range(32)), b"\x5a" * 32, b"\xd1" * 32
Opener = Callable[[], Enclave]


def operations(enclave: Enclave) -> dict[str, Callable[[], object]]:
    """What is measured, with everything that it needs made beforehand."""
    if Capability.REPORT in enclave.info.capabilities:
        return {"report": lambda: enclave.report(NONCE)}
    key, agreement = (enclave.create_key(use, AUTH, NONCE) for use in KeyUse)
    blob = enclave.seal(b"\x01" * 32, ())
    return {
        "sign": lambda: enclave.sign(key, AUTH, DIGEST),
        "agree": lambda: enclave.agree(agreement, AUTH, key.public),
        "seal 32 bytes": lambda: enclave.seal(b"\x01" * 32, ()),
        "unseal": lambda: enclave.unseal(blob),
        "random, 32 bytes": lambda: enclave.random(32),
    }


@contextmanager
def token(folder: Path) -> Iterator[Opener]:
    """A SoftHSM2 token."""
    with SoftHsm(folder / "token") as made:
        options: dict[str, Any] = {"module": str(made.module), "token": made.label, "pin_file": str(made.pin_file)}
        options["environment"] = made.environment()
        yield lambda: Pkcs11Driver().open(options)


@contextmanager
def software(folder: Path) -> Iterator[Opener]:
    """A software enclave."""
    yield lambda: SoftwareEnclaveDriver().open({"folder": str(folder / "software")})


@contextmanager
def reports(folder: Path) -> Iterator[Opener]:
    """A confidential VM's report interface."""
    with ConfigfsTree(folder / "configfs") as tree:
        yield lambda: ConfigfsTsmDriver().open({"root": str(tree.root)})


def figures(opener: Opener, rounds: int) -> dict[str, dict[str, float]]:
    """Every operation, and opening with closing."""
    with opener() as enclave:
        measured = {what: measure(work, rounds) for what, work in operations(enclave).items()}
    return {**measured, "open and close": measure(lambda: opener().close(), rounds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200, choices=range(2, 10_001), metavar="2…10000")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="kv-") as folder:
        for name, made in {"pkcs11 (SoftHSM2)": token, "software": software, "configfs-tsm": reports}.items():
            try:
                with made(Path(folder)) as opener:
                    found[name] = figures(opener, given.rounds)
            except DeviceError as error:
                print(f"{name}: left out: {error} {error.remedy}")
    if given.json:
        print(json.dumps({"rounds": given.rounds, "milliseconds": found}))
        return
    for name, table in found.items():
        print(f"{name}, {given.rounds} rounds, milliseconds\n{'':32}{'median':>9}{'p95':>9}{'max':>9}")
        for what, figure in table.items():
            print(f"{what:32}" + "".join(f"{figure[column]:9.2f}" for column in ("median", "p95", "max")))


if __name__ == "__main__":
    main()
