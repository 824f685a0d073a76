"""How long TPM operations take through the driver, on a software TPM or a real one.

    python benchmarks/bench_tpm.py [--tcti device:/dev/tpmrm0] [--rounds 50] [--json]

Without --tcti a software TPM is manufactured for the run. Figures in milliseconds: median, 95th percentile, maximum.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from authority.tpm import CertifiedUse, make_credential, name, verify_certify, verify_quote
from drivers.tpm2 import Tpm2Driver
from hal import DeviceError, Enclave, KeyUse
from simulators.devices.swtpm import Swtpm, SwtpmFactory

SELECTION = tuple(range(10))
NONCE, AUTH, DIGEST = bytes(range(32)), b"\x5a" * 32, b"\xd1" * 32


def operations(tpm: Enclave) -> dict[str, Callable[[], object]]:
    """What is measured, with everything that it needs made beforehand."""
    key, agreement = (tpm.create_key(use, AUTH, NONCE) for use in KeyUse)
    blob, ak, quote = tpm.seal(b"\x01" * 32, SELECTION), tpm.attestation_key(), tpm.quote(NONCE, SELECTION)
    ek = tpm.endorsement().ek_public
    credential = make_credential(ek, name(ak), AUTH, os.urandom)
    peer = b"\x04" + agreement.public[-66:-34] + agreement.public[-32:]
    return {
        "quote, 10 PCRs": lambda: tpm.quote(NONCE, SELECTION),
        "read 10 PCRs": lambda: tpm.read_pcrs(SELECTION),
        "seal 32 bytes": lambda: tpm.seal(b"\x01" * 32, SELECTION),
        "unseal": lambda: tpm.unseal(blob),
        "sign": lambda: tpm.sign(key, AUTH, DIGEST),
        "agree": lambda: tpm.agree(agreement, AUTH, peer),
        "create and certify a key": lambda: tpm.create_key(KeyUse.SIGN, AUTH, NONCE),
        "activate a credential": lambda: tpm.activate(credential.blob, credential.encrypted_secret),
        "endorsement and certificates": tpm.endorsement,
        "attestation key": tpm.attestation_key,
        "random, 32 bytes": lambda: tpm.random(32),
        "verify: quote": lambda: verify_quote(quote.attest, quote.signature, ak, NONCE, SELECTION, quote.pcrs),
        "verify: certification": lambda: verify_certify(
            key.attest, key.signature, ak, NONCE, key.public, CertifiedUse.SIGN
        ),
        "verify: make a credential": lambda: make_credential(ek, name(ak), AUTH, os.urandom),
    }


def measure(operation: Callable[[], object], rounds: int) -> dict[str, float]:
    """Milliseconds of `rounds` runs after one that does not count."""
    operation()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        operation()
        taken.append((time.perf_counter_ns() - start) / 1e6)
    percentiles = statistics.quantiles(taken, n=20, method="inclusive")
    return {"median": statistics.median(taken), "p95": percentiles[-1], "max": max(taken)}


@contextmanager
def tpm_at(tcti: str | None) -> Iterator[Enclave]:
    """The TPM that was named, or one made for this run."""
    with ExitStack() as stack:
        if tcti is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            state = SwtpmFactory(Path(folder)).manufacture("bench")
            tcti = stack.enter_context(Swtpm(state)).tcti
        yield stack.enter_context(Tpm2Driver().open({"tcti": tcti, "timeout": 60}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tcti", help="the TPM to measure; a software TPM by default")
    parser.add_argument("--rounds", type=int, default=50, choices=range(2, 10_001), metavar="2…10000")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    try:
        with tpm_at(given.tcti) as tpm:
            model = tpm.info.name
            figures = {what: measure(work, given.rounds) for what, work in operations(tpm).items()}
    except DeviceError as error:
        raise SystemExit(f"{error}\n{error.remedy}") from None
    if given.json:
        print(json.dumps({"tpm": model, "rounds": given.rounds, "milliseconds": figures}))
        return
    print(f"{model}, {given.rounds} rounds, milliseconds\n{'':32}{'median':>9}{'p95':>9}{'max':>9}")
    for what, figure in figures.items():
        print(f"{what:32}" + "".join(f"{figure[column]:9.2f}" for column in ("median", "p95", "max")))


if __name__ == "__main__":
    main()
