"""Examination of a quote that no registration stands behind: every check by itself, each with its result.

For forensics, and for quotes of other vendors' tools. What `verify_quote` refuses at the first flaw is taken apart
here, so that a report says everything that holds and everything that does not. It is no less strict for that:
`Examination.verified` is true only where every check passed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from authority.tpm._reader import TpmFormatError
from authority.tpm._signed import AK_MUST, AK_MUST_NOT, check_attributes, check_scheme, check_signature
from authority.tpm.eventlog import DIGEST_BYTES, FIRMWARE, parse_event_log, replay, reset_value
from authority.tpm.files import Registers, SignerFile, read_registers, read_signature, read_signer
from authority.tpm.keys import name_of
from authority.tpm.rejection import Reason, TpmRejected
from authority.tpm.wire import Algorithm, Attest, PcrSelection, QuoteInfo, parse_attest

Value = TypeVar("Value")


class Result(StrEnum):
    """How a check ended. `UNKNOWN`: the file cannot tell, and does not claim to."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Check:
    """One check; `reason` is a stable word and `detail` a sentence, where it did not pass."""

    name: str
    result: Result
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class QuoteFiles:
    """Contents of the files, as tpm2-tools wrote them; `event_log` where there is one."""

    signer: bytes
    message: bytes
    signature: bytes
    registers: bytes
    event_log: bytes | None = None


@dataclass
class Examination:
    """What was found. `selection` and `registers` are the quote's own, and vouched for only when it is verified."""

    checks: list[Check] = field(default_factory=list)
    signer: SignerFile | None = None
    attest: Attest | None = None
    selection: tuple[PcrSelection, ...] = ()
    registers: Registers | None = None
    unlogged: list[int] | None = None

    @property
    def verified(self) -> bool:
        """Whether all holds."""
        ended = {check.result for check in self.checks}
        return bool(ended) and not ended & {Result.FAILED, Result.SKIPPED}

    @property
    def first_flaw(self) -> Check | None:
        """The check that failed first."""
        return next((check for check in self.checks if check.result is Result.FAILED), None)

    @property
    def signer_name(self) -> bytes:
        """The Name of the signing key, empty where only the bare key is known."""
        public = self.signer.public if self.signer else None
        return name_of(public) if public else b""

    def enter(self, name: str, check: Callable[[], Value] | None) -> Value | None:
        """Run one check and note how it ended; without one it is skipped. Gives what the check gave, if it passed."""
        value = None
        try:
            if check is not None:
                value = check()
        except TpmFormatError as error:
            self.checks.append(Check(name, Result.FAILED, Reason.MALFORMED, str(error)))
        except TpmRejected as error:
            self.checks.append(Check(name, Result.FAILED, error.reason, error.detail))
        else:
            skipped = Check(name, Result.SKIPPED, detail="an earlier check left nothing to check")
            self.checks.append(Check(name, Result.PASSED) if check is not None else skipped)
        return value


def examine(files: QuoteFiles, nonce: bytes, selection: Sequence[PcrSelection] | None = None) -> Examination:
    """Check a quote over `nonce` and exactly the registers of `selection`; without one, over at least one register.

    Registers of the SHA-1 bank hold only if they were asked for by name. Raises `ValueError` for an empty nonce.
    """
    if not nonce:
        raise ValueError("a quote over no nonce may be of any age: give the nonce that was sent")
    found = Examination()
    hashed = _examine_signature(found, files)
    _examine_message(found, files, nonce, selection)
    _examine_registers(found, hashed, files.event_log)
    return found


def _examine_signature(found: Examination, files: QuoteFiles) -> Algorithm | None:
    """The hash that the key signed with."""
    found.signer = signer = found.enter("key", lambda: read_signer(files.signer))
    if signer is None:
        found.enter("key-attributes", None)
        found.enter("signature", None)
        return None
    if (public := signer.public) is not None:
        found.enter("key-attributes", lambda: check_attributes(public, AK_MUST, AK_MUST_NOT, Reason.UNFIT_SIGNER))
    else:
        detail = "the file has a bare key: that it is a TPM's attestation key is not known"
        found.checks.append(Check("key-attributes", Result.UNKNOWN, detail=detail))
    return found.enter("signature", lambda: _signed_with(files, signer))


def _examine_message(
    found: Examination, files: QuoteFiles, nonce: bytes, selection: Sequence[PcrSelection] | None
) -> None:
    found.attest = attest = found.enter("message", lambda: _quote(files.message))
    if attest is None:
        for name in ("nonce", "selection", "pcr-values"):
            found.enter(name, None)
        return
    found.selection = quoted = tuple(one for one in _info(attest).selections if one.pcrs)
    found.enter("nonce", lambda: _match_nonce(attest, nonce))
    found.enter("selection", lambda: _match_selection(quoted, selection))
    found.registers = found.enter("pcr-values", lambda: read_registers(files.registers, quoted))


def _examine_registers(found: Examination, hashed: Algorithm | None, event_log: bytes | None) -> None:
    attest, registers = found.attest, found.registers
    if attest is None or registers is None or hashed is None:
        found.enter("pcr-digest", None)
    else:
        found.enter("pcr-digest", lambda: _match_digest(attest, registers, hashed))
    if event_log is not None:
        found.unlogged = found.enter("event-log", (lambda: explain(event_log, registers)) if registers else None)


def _quote(message: bytes) -> Attest:
    attest = parse_attest(message)
    _info(attest)
    return attest


def _info(attest: Attest) -> QuoteInfo:
    if not isinstance(attest.attested, QuoteInfo):
        raise TpmRejected(Reason.WRONG_TYPE, "a TPM made this, but it is no quote")
    return attest.attested


def _signed_with(files: QuoteFiles, signer: SignerFile) -> Algorithm:
    signature = read_signature(files.signature, signer)
    if signer.public is not None:
        check_scheme(signer.public, signature)
    return check_signature(signer.key, signature, files.message)


def _match_nonce(attest: Attest, nonce: bytes) -> None:
    if not hmac.compare_digest(attest.extra_data, nonce):
        raise TpmRejected(Reason.WRONG_QUALIFYING_DATA, "it was made over other qualifying data")


def _match_selection(quoted: tuple[PcrSelection, ...], wanted: Sequence[PcrSelection] | None) -> None:
    if not quoted:
        raise TpmRejected(Reason.WRONG_SELECTION, "it covers no register, as a quote over an absent bank does")
    if len({one.bank for one in quoted}) != len(quoted):
        raise TpmRejected(Reason.WRONG_SELECTION, "it names a bank twice")
    if wanted is not None and _pairs(quoted) != _pairs(wanted):
        raise TpmRejected(Reason.WRONG_SELECTION, f"it covers {selection_text(quoted)}, not {selection_text(wanted)}")
    if wanted is None and any(one.weak for one in quoted):
        raise TpmRejected(Reason.WEAK_HASH, "it covers registers of the SHA-1 bank, which nobody asked for by name")


def _match_digest(attest: Attest, registers: Registers, hashed: Algorithm) -> None:
    """A TPM digests the registers with the hash of its signing scheme (Part 3, 18.4)."""
    quoted = _info(attest)
    ordered = b"".join(registers[one.bank, pcr] for one in quoted.selections for pcr in one.pcrs)
    digest = hashlib.new(hashed.name.lower(), ordered).digest()
    if not hmac.compare_digest(digest, quoted.pcr_digest):
        raise TpmRejected(Reason.WRONG_PCR_DIGEST, "the values sent along are not those that were signed")


def explain(event_log: bytes, registers: Registers) -> list[int]:
    """Registers that the log leaves open; all others replay to their values. Raises `TpmRejected`, `TpmFormatError`.

    A register without an event holds its reset value, or was extended by what keeps no firmware log: an operating
    system does that with registers 8 and up, so these are told and not refused. The firmware's must be explained.
    """
    log = parse_event_log(event_log)
    replayed = {bank: replay(log, bank) for bank in {bank for bank, _ in registers}}
    wrong: set[int] = set()
    unlogged: set[int] = set()
    for (bank, pcr), value in registers.items():
        explained = replayed[bank].get(pcr, reset_value(pcr, bank))
        if value == explained:
            continue
        (wrong if pcr in replayed[bank] or pcr in FIRMWARE else unlogged).add(pcr)
    if wrong:
        named = ", ".join(map(str, sorted(wrong)))
        raise TpmRejected(Reason.WRONG_EVENT_LOG, f"the event log does not lead to the quoted values of PCR {named}")
    return sorted(unlogged)


def parse_selection(text: str) -> tuple[PcrSelection, ...]:
    """A selection in tpm2-tools' words, `sha256:0,1,2+sha384:7`; raises `ValueError` for any other text."""
    found = tuple(_bank(part) for part in text.split("+"))
    if len({one.bank for one in found}) != len(found):
        raise ValueError("a bank is named twice")
    return found


def selection_text(selection: Sequence[PcrSelection]) -> str:
    """The inverse of `parse_selection`; "nothing" for none."""
    parts = [f"{one.bank.name.lower()}:{','.join(map(str, one.pcrs))}" for one in selection if one.pcrs]
    return "+".join(parts) or "nothing"


def _bank(text: str) -> PcrSelection:
    name, _, listed = text.strip().partition(":")
    banks = {bank.name.lower(): bank for bank in DIGEST_BYTES}
    if name.lower() not in banks:
        raise ValueError(f"{name!r} is no bank: name {', '.join(banks)}")
    words = [str(pcr) for pcr in range(24)] if listed == "all" else listed.split(",")
    if not all(word.strip().isascii() and word.strip().isdigit() and int(word) < 32 for word in words):
        raise ValueError(f"{listed!r} is no list of registers, such as 0,1,7")
    return PcrSelection(banks[name.lower()], tuple(sorted({int(word) for word in words})))


def _pairs(selection: Sequence[PcrSelection]) -> set[tuple[Algorithm, int]]:
    return {(one.bank, pcr) for one in selection for pcr in one.pcrs}
