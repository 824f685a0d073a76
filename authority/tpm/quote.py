"""Quotes: what a TPM says about its platform configuration registers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from authority.tpm._signed import verify_attest
from authority.tpm.keys import RH_ENDORSEMENT
from authority.tpm.rejection import QuoteRejected, Reason, TpmRejected, rejecting
from authority.tpm.wire import Algorithm, ClockInfo, PcrSelection, QuoteInfo

PCR_BYTES = 32


@dataclass(frozen=True)
class Quote:
    """What a verified quote says: SHA-256 PCR values, the TPM's clock, and its firmware version.

    Order quotes by `(clock.reset_count, clock.clock)`: the clock alone may go backwards over a reboot.
    """

    pcrs: dict[int, bytes]
    clock: ClockInfo
    firmware_version: int


def verify_quote(
    attest: bytes,
    signature: bytes,
    ak_public: bytes,
    expected_extra_data: bytes,
    required_selection: Sequence[int],
    pcr_values: Mapping[int, bytes],
    *,
    hierarchy: int | None = RH_ENDORSEMENT,
) -> Quote:
    """Check a quote by the enrolled AK over exactly the registers `required_selection` of the SHA-256 bank.

    `attest` is TPMS_ATTEST, `signature` TPMT_SIGNATURE, `ak_public` the enrolled TPM2B_PUBLIC, `expected_extra_data`
    the 32 bytes that the quote must be fresh for, `pcr_values` what the node says the registers hold. `hierarchy`
    is where the AK must be a primary key: elsewhere than under the endorsement hierarchy, counters and firmware version
    are obfuscated; `None` skips that. Raises `QuoteRejected`, and `ValueError` when no register is required.
    """
    if not required_selection:
        raise ValueError("a quote over no register proves nothing: require at least one")
    with rejecting(QuoteRejected):
        parsed, hashed = verify_attest(attest, signature, ak_public, expected_extra_data, hierarchy)
        if not isinstance(parsed.attested, QuoteInfo):
            raise TpmRejected(Reason.WRONG_TYPE, "a certification where a quote is needed")
        _check_selection(parsed.attested, required_selection)
        pcrs = _check_values(parsed.attested, pcr_values, required_selection, hashed)
    return Quote(pcrs, parsed.clock_info, parsed.firmware_version)


def _check_selection(quoted: QuoteInfo, required: Sequence[int]) -> None:
    """A TPM quotes an absent bank with an empty selection: signature and digest hold, and nothing is proved."""
    wanted = (PcrSelection(Algorithm.SHA256, tuple(sorted(set(required)))),)
    if quoted.selections != wanted:
        said = ", ".join(f"{one.bank.name}:{list(one.pcrs)}" for one in quoted.selections) or "nothing"
        raise TpmRejected(Reason.WRONG_SELECTION, f"it covers {said}, not SHA256:{list(wanted[0].pcrs)}")


def _check_values(
    quoted: QuoteInfo, values: Mapping[int, bytes], required: Sequence[int], hashed: Algorithm
) -> dict[int, bytes]:
    pcrs = {index: bytes(values[index]) for index in sorted(values)}
    if set(pcrs) != set(required) or any(len(value) != PCR_BYTES for value in pcrs.values()):
        raise TpmRejected(Reason.WRONG_PCR_DIGEST, "the values sent along are not those of the required registers")
    digest = hashlib.new(hashed.name.lower(), b"".join(pcrs.values())).digest()
    if not hmac.compare_digest(digest, quoted.pcr_digest):
        raise TpmRejected(Reason.WRONG_PCR_DIGEST, "the values sent along are not those that were signed")
    return pcrs
