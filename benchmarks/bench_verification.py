"""How much CPU the authority spends to verify: quote, token, EK chain, score, NV certification, attestation result.

    python benchmarks/bench_verification.py [--rounds 300] [--json]

Median CPU milliseconds of one process; `all` is quote, token, chain and score one after the other, and `per second` how
many of these one core does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import ECKey

from authority.ear import EAR_PROFILE, sign_ear
from authority.tpm import load_roots, verify_endorsement, verify_nv, verify_quote
from authority.tpm.nv import measurement_index
from authority.trust import Circumstances, Presentation, PresentationKind, assess, default_policy
from drivers.tpm2 import Tpm2Driver
from hal import Enclave
from protocol.digests import evidence_digest
from protocol.evidence import EAT_PROFILE, EvidenceClaims, encode_token, merkle_root, read_claims
from protocol.measurement import AGENT_LABEL
from protocol.messages import ModalityModel, SensorIdentity
from simulators.devices.swtpm import Swtpm, SwtpmFactory

SELECTION = (0, 2, 4, 7)
NAMES = ("face", "voice", "fingerprint")


def token_of(key: ec.EllipticCurvePrivateKey) -> str:
    """A token of three modalities, as a node sends it."""
    leaves = [bytes([number]) * 32 for number in range(3)]
    claims = EvidenceClaims(
        eat_profile=EAT_PROFILE,
        iss="a" * 64,
        eat_nonce="n" * 43,
        challenge="c" * 32,
        record="r" * 32,
        certificate="d" * 64,
        modalities=[ModalityModel(modality=name, model="m" * 64, parameters="1") for name in NAMES],
        sensors=[
            SensorIdentity(kind=name, driver="driver", driver_sha256="0" * 64, transport="usb", port="1-1")
            for name in NAMES
        ],
        commitments=leaves,
        commitment=merkle_root(leaves),
        elapsed=1,
        quality=4,
        margin=4,
        counter=1,
        agent="keyvigil/0",
    )

    def sign(digest: bytes) -> bytes:
        r, s = utils.decode_dss_signature(key.sign(digest, ec.ECDSA(utils.Prehashed(SHA256()))))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return encode_token(claims, sign)


def works(enclave: Enclave, maker: SwtpmFactory) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    token, ak, endorsement = token_of(key), enclave.attestation_key(), enclave.endorsement()
    digest, roots = evidence_digest(token), load_roots(maker.ca_certificates)
    quote = enclave.quote(digest, SELECTION)
    enclave.measure(AGENT_LABEL, hashlib.sha256(b"agent").digest())
    measured, index = enclave.certify_measurement(AGENT_LABEL, digest), measurement_index(AGENT_LABEL)
    spki = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    policy, at = default_policy(), time.time()
    history = [Presentation(at - 3600 * number, PresentationKind.ACCEPTED, 900, 900) for number in range(64, 0, -1)]
    circumstances = Circumstances()

    def check_token() -> object:
        claims = read_claims(token)
        jws.deserialize_compact(token, ECKey.import_key(spki), algorithms=["ES256"])
        return claims

    claims = {"eat_profile": EAR_PROFILE, "iat": 1, "submods": {"node": {"ear_status": "affirming"}}}
    return {
        "quote": lambda: verify_quote(quote.attest, quote.signature, ak, digest, SELECTION, quote.pcrs),
        "token": check_token,
        "chain": lambda: verify_endorsement(endorsement.ek_public, endorsement.certificates, roots, now),
        "score": lambda: assess(policy, history, circumstances, at),
        "nv": lambda: verify_nv(measured.attest, measured.signature, ak, digest, measured.public, index),
        "ear": lambda: sign_ear(claims, key),
    }


def cpu_ms(work: Callable[[], object], rounds: int) -> float:
    """Median CPU milliseconds of `work`."""
    spent = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return statistics.median(spent) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        maker = SwtpmFactory(Path(folder))
        with Swtpm(maker.manufacture("bench")) as tpm, Tpm2Driver().open({"tcti": tpm.tcti}) as enclave:
            measured = works(enclave, maker)
            found = {name: round(cpu_ms(work, given.rounds), 3) for name, work in measured.items()}
    found["all"] = round(sum(found[name] for name in ("quote", "token", "chain", "score")), 3)
    found["per second"] = round(1000 / found["all"])
    if given.as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:12}{value:10}")


if __name__ == "__main__":
    main()
