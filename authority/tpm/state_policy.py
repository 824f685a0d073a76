"""The policy that an approval of a machine state is of, computed without a TPM.

TCG TPM 2.0 Library Part 3: TPM2_PolicyPCR 23.7, TPM2_PolicyNV 23.9; Part 1, 19.7.7 (deferred assertions).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from authority.tpm.nv import nv_name, parse_nv_public
from authority.tpm.wire import Algorithm

_POLICY_PCR = 0x0000017F.to_bytes(4, "big")
_POLICY_NV = 0x00000149.to_bytes(4, "big")
_UNSIGNED_LE = 0x0009.to_bytes(2, "big")
_BANKS = 24
_PCR_BYTES = 32


def state_policy(pcrs: Mapping[int, bytes], floor_public: bytes, version: int) -> bytes:
    """PolicyPCR over values (32 bytes each) of the SHA-256 bank, and PolicyNV that the floor is not above `version`.

    `floor_public` is the counter's TPM2B_NV_PUBLIC, written to. Raises `ValueError` for PCRs that are none or not such.
    """
    if not pcrs or any(not 0 <= index < _BANKS or len(value) != _PCR_BYTES for index, value in pcrs.items()):
        raise ValueError("a state has SHA-256 values of PCRs between 0 and 23, at least one")
    values = b"".join(pcrs[index] for index in sorted(pcrs))
    digest = _extended(bytes(32), _POLICY_PCR + _selection(pcrs) + hashlib.sha256(values).digest())
    operands = version.to_bytes(8, "big") + bytes(2) + _UNSIGNED_LE
    return _extended(digest, _POLICY_NV + hashlib.sha256(operands).digest() + nv_name(parse_nv_public(floor_public)))


def _selection(pcrs: Mapping[int, bytes]) -> bytes:
    """TPML_PCR_SELECTION of one bank."""
    bits = sum(1 << index for index in pcrs)
    return (1).to_bytes(4, "big") + Algorithm.SHA256.to_bytes(2, "big") + b"\x03" + bits.to_bytes(3, "little")


def _extended(digest: bytes, data: bytes) -> bytes:
    return hashlib.sha256(digest + data).digest()
