"""What may be passed to an enclave: lengths and points, checked before a device sees them. Each raises `ValueError`."""

from __future__ import annotations

from contextlib import suppress

from cryptography.hazmat.primitives.asymmetric import ec

from hal import PcrSelection, Unsupported

SEALED_BYTES = 128
AUTH_BYTES = 32
RANDOM_BYTES = 4096
POINT_BYTES = 65


def check_length(what: str, value: bytes, length: int) -> None:
    """Exactly `length` bytes."""
    if len(value) != length:
        raise ValueError(f"{what} has {len(value)} bytes, {length} are needed")


def check_auth(auth: bytes) -> None:
    """An authorisation value of at most 32 bytes."""
    if len(auth) > AUTH_BYTES:
        raise ValueError(f"authorisation value has {len(auth)} bytes, at most {AUTH_BYTES} are allowed")


def check_secret(secret: bytes) -> None:
    """A secret of 1 to 128 bytes."""
    if not 0 < len(secret) <= SEALED_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes cannot be sealed: 1 to {SEALED_BYTES} can")


def check_count(count: int) -> None:
    """At most 4096 random bytes at a time."""
    if not 0 <= count <= RANDOM_BYTES:
        raise ValueError(f"{count} random bytes: 0 to {RANDOM_BYTES} can be asked for")


def check_no_pcrs(kind: str, selection: PcrSelection) -> None:
    """Raise `Unsupported` for any PCR: this kind of enclave has none, and must not seem to seal to one."""
    if selection:
        raise Unsupported(f"an enclave of kind {kind} has no PCRs to seal to", remedy="Seal to an empty selection.")


def load_point(point: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key of a 65-byte uncompressed point (SEC 1, 2.3.4)."""
    with suppress(ValueError):
        if len(point) == POINT_BYTES and point[0] == 4:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    raise ValueError("the peer's key is not an uncompressed point on P-256")
