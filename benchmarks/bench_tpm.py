"""How long TPM operations take through the driver, on a software TPM or a real one.

    python benchmarks/bench_tpm.py [--tcti device:/dev/tpmrm0] [--rounds 50] [--json]

Without --tcti a software TPM is manufactured for the run, and starting one is measured too. Figures in milliseconds:
median, 95th percentile, maximum.
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
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authority.tpm import (
    CertifiedUse,
    Guard,
    make_credential,
    name,
    reset_message,
    verify_certify,
    verify_guarded_key,
    verify_quote,
)
from drivers.tpm2 import Tpm2Driver
from hal import Approval, DeviceError, Enclave, GuardedKey, KeyUse, SealAuthority
from simulators.devices.swtpm import Swtpm, SwtpmFactory

SELECTION = tuple(range(10))
NONCE, AUTH, DIGEST = bytes(range(32)), b"\x5a" * 32, b"\xd1" * 32
LABEL = "keyvigil-bench"
Operations = dict[str, Callable[[], object]]


def approved(tpm: Enclave, floor: str) -> Operations:
    """Sealing and unsealing under an authority's approval, with or without a floor."""
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    authority, version = SealAuthority(point, b"bench", floor), 2**63
    policy = tpm.pcr_policy(SELECTION, authority, version)
    r, s = utils.decode_dss_signature(key.sign(policy + authority.reference, ec.ECDSA(hashes.SHA256())))
    approval = Approval(policy, r.to_bytes(32, "big") + s.to_bytes(32, "big"), SELECTION, version)
    blob, what = tpm.seal(b"\x01" * 32, (), authority), "with a floor" if floor else "without a floor"
    return {
        f"seal approved, {what}": lambda: tpm.seal(b"\x01" * 32, (), authority),
        f"unseal approved, {what}": lambda: tpm.unseal(blob, approval),
        f"policy of now, {what}": lambda: tpm.pcr_policy(SELECTION, authority, version),
    }


def in_nv(tpm: Enclave) -> Operations:
    """Counters, measurements and PINs."""
    tpm.set_pin(LABEL, AUTH, 5)
    return {
        "counter: read": lambda: tpm.counter(LABEL),
        "counter: advance": lambda: tpm.advance(LABEL),
        "counter: certify": lambda: tpm.certify_counter(LABEL, NONCE),
        "measurement: extend": lambda: tpm.measure(LABEL, DIGEST),
        "measurement: certify": lambda: tpm.certify_measurement(LABEL, NONCE),
        "PIN: set": lambda: tpm.set_pin(LABEL, AUTH, 5),
        "PIN: right answer": lambda: tpm.try_pin(LABEL, AUTH),
        "status": tpm.status,
    }


def behind_a_pin(tpm: Enclave) -> Operations:
    """A guarded key: making it, signing, changing its PIN, lifting its lock."""
    reset_key = ec.generate_private_key(ec.SECP256R1())
    point = reset_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def make() -> GuardedKey:
        return tpm.create_guarded_key(LABEL, AUTH, AUTH, 15, point, NONCE)

    key = make()
    guard, given = Guard(LABEL, point, key.change[:65]), (key.key.attest, key.key.signature, tpm.attestation_key())

    def reset() -> None:
        message = reset_message(tpm.reset_nonce(key), key.index.public, guard, 15)
        r, s = utils.decode_dss_signature(reset_key.sign(message, ec.ECDSA(hashes.SHA256())))
        tpm.reset_pin(key, r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    return {
        "guarded key: sign": lambda: tpm.guarded_sign(key, AUTH, AUTH, DIGEST),
        "guarded key: change the PIN": lambda: tpm.change_pin(key, AUTH, AUTH),
        "guarded key: state": lambda: tpm.guard_state(key),
        "guarded key: certify the state": lambda: tpm.certify_guard(key, NONCE),
        "guarded key: lift the lock": reset,
        "verify: guarded key": lambda: verify_guarded_key(*given, NONCE, key.key.public, key.index.public, guard),
        "guarded key: make": make,
    }


def starting(folder: Path, factory: SwtpmFactory) -> Operations:
    """A software TPM of its own, from the template to its first answer through the driver."""
    number = count()

    def fresh() -> None:
        with (
            Swtpm(factory.fresh(folder / f"fresh-{next(number)}")) as running,
            Tpm2Driver().open({"tcti": running.tcti}) as tpm,
        ):
            tpm.read_pcrs((0,))

    return {"fresh TPM: copy, start, open, first answer, end": fresh}


def operations(tpm: Enclave) -> Operations:
    """What is measured, with everything that it needs made beforehand."""
    key, agreement = (tpm.create_key(use, AUTH, NONCE) for use in KeyUse)
    blob, ak, quote = tpm.seal(b"\x01" * 32, SELECTION), tpm.attestation_key(), tpm.quote(NONCE, SELECTION)
    ek = tpm.endorsement().ek_public
    credential = make_credential(ek, name(ak), AUTH, os.urandom)
    peer = b"\x04" + agreement.public[-66:-34] + agreement.public[-32:]
    return {
        **approved(tpm, ""),
        **approved(tpm, LABEL),
        **in_nv(tpm),
        **behind_a_pin(tpm),
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
def tpm_at(tcti: str | None) -> Iterator[tuple[Enclave, Operations]]:
    """The TPM that was named, or one made for this run, and then how to start more of its kind."""
    with ExitStack() as stack:
        more: Operations = {}
        if tcti is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            factory = SwtpmFactory(folder / "maker")
            more = starting(folder, factory)
            tcti = stack.enter_context(Swtpm(factory.manufacture("bench"))).tcti
        tpm = stack.enter_context(Tpm2Driver().open({"tcti": tcti, "timeout": 60}))
        stack.callback(tpm.forget, LABEL)
        yield tpm, more


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tcti", help="the TPM to measure; a software TPM by default")
    parser.add_argument("--rounds", type=int, default=50, choices=range(2, 10_001), metavar="2…10000")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    try:
        with tpm_at(given.tcti) as (tpm, more):
            model = tpm.info.name
            figures = {what: measure(work, given.rounds) for what, work in {**operations(tpm), **more}.items()}
    except DeviceError as error:
        raise SystemExit(f"{error}\n{error.remedy}") from None
    if given.json:
        print(json.dumps({"tpm": model, "rounds": given.rounds, "milliseconds": figures}))
        return
    print(f"{model}, {given.rounds} rounds, milliseconds\n{'':50}{'median':>9}{'p95':>9}{'max':>9}")
    for what, figure in figures.items():
        print(f"{what:50}" + "".join(f"{figure[column]:9.2f}" for column in ("median", "p95", "max")))


if __name__ == "__main__":
    main()
