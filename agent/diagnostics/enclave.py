"""Examining an enclave: who made it, its certificates, banks, event log, clock, and the state of its lockout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar, cast

from cryptography import x509

from agent.diagnostics.findings import Fact, Finding, Severity, not_made
from agent.diagnostics.machine import Machine
from agent.diagnostics.sensors import VIRTUAL
from agent.diagnostics.targets import Target
from agent.identity import UNREADABLE
from agent.log import printable
from hal import (
    Deadline,
    DeviceError,
    DeviceInfo,
    Enclave,
    EnclaveClock,
    EnclaveStatus,
    LockoutStatus,
    Transport,
    Unsupported,
)

T = TypeVar("T")
Part = Callable[[Enclave, str], Iterator[Finding]]

ENCLAVE_S = 90.0
"""A chip may take a minute to make its RSA endorsement key."""

_BANK = "sha256"
_BOOT_PCRS = (0, 1, 2, 3, 4, 5, 6, 7)
_EXPIRY_NOTICE = timedelta(days=30)
_TPM_NUMBER = re.compile(r"/dev/tpm(?:rm)?(\d+)")
_ENDLESS_YEAR = 9999
"""RFC 5280, 4.1.2.5: a certificate without a well-defined expiration date says 99991231235959Z."""


@dataclass(frozen=True)
class EnclaveExam:
    """What the examination needs to know of its surroundings; `now` is passed in for the certificates."""

    machine: Machine
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def examine(self, target: Target, deadline: Deadline) -> Iterator[Finding]:
        """Everything that can be said of the enclave; the device is released on every path."""
        subject = target.subject
        try:
            if not target.is_made():
                yield not_made(subject)
                return
            with cast(Enclave, target.open(deadline)) as enclave:
                for part in (_identity, _lockout, self._certificates, _pcrs, self._event_log):
                    yield from _guarded(part, enclave, subject)
        except DeviceError as error:
            yield Finding("enclave.usable", Severity.ERROR, str(error), error.remedy, subject)
        except ImportError as error:
            remedy = "Install the package of this driver, for example `pip install 'keyvigil[tpm]'`."
            yield Finding("enclave.usable", Severity.ERROR, f"a library is missing: {error.name}", remedy, subject)

    def _certificates(self, enclave: Enclave, subject: str) -> Iterator[Finding]:
        endorsement = _asked(enclave.endorsement)
        if endorsement is None:
            what = "no endorsement key: the enclave cannot prove who made it"
            yield Finding("tpm.endorsement", Severity.INFO, what, subject=subject)
        elif not endorsement.certificates:
            remedy = (
                "Have an operator admit the node by the hash of its endorsement key, or load the maker's certificate."
            )
            what = "the enclave holds no endorsement certificate"
            yield Finding("tpm.endorsement", Severity.WARNING, what, remedy, subject)
        else:
            for der in (*endorsement.certificates, *endorsement.further):
                yield judge_certificate(der, self.now(), subject)

    def _event_log(self, enclave: Enclave, subject: str) -> Iterator[Finding]:
        number = tpm_number(enclave.info)
        if number is not None:
            yield judge_event_log(self.machine, number, subject)


def _guarded(part: Part, enclave: Enclave, subject: str) -> Iterator[Finding]:
    """One part of the examination; what it cannot answer does not hide what the next can."""
    try:
        yield from part(enclave, subject)
    except DeviceError as error:
        yield Finding("enclave.answers", Severity.ERROR, str(error), error.remedy, subject)


def _identity(enclave: Enclave, subject: str) -> Iterator[Finding]:
    info, status = enclave.info, _asked(enclave.status)
    abilities = ", ".join(sorted(info.capabilities)) or "no special capabilities"
    name = f"{status.maker} {status.model}" if status else f"{info.vendor_id} {info.name}"
    firmware = f", firmware {status.firmware}" if status and status.firmware else ""
    what = f"{name.strip() or enclave.kind.value} at {info.port}{firmware}: {abilities}"
    facts: dict[str, Fact] = {"kind": enclave.kind.value, "transport": info.transport.value, "port": info.port}
    yield Finding("enclave.usable", Severity.OK, what, subject=subject, facts=facts)
    if info.transport is Transport.VIRTUAL:
        yield Finding("device.virtual", Severity.INFO, VIRTUAL, subject=subject)
    if status is not None:
        yield from judge_status(status, subject)


def judge_status(status: EnclaveStatus, subject: str) -> Iterator[Finding]:
    """What is to be said of banks, clock and room; what the enclave does not tell is passed over."""
    if status.pcr_banks and _BANK not in status.pcr_banks:
        what = f"the SHA-256 bank is not active; active are {', '.join(status.pcr_banks)}"
        remedy = "Activate the SHA-256 bank in the firmware set-up (`tpm2_pcrallocate sha256:all` at the next start)."
        yield Finding("tpm.banks", Severity.ERROR, what, remedy, subject)
    elif status.pcr_banks:
        what = f"active PCR banks: {', '.join(status.pcr_banks)}"
        yield Finding("tpm.banks", Severity.OK, what, subject=subject)
    if status.clock is not None:
        yield judge_clock(status.clock, subject)
    room = {"objects": status.free_objects, "sessions": status.free_sessions, "counters": status.free_counters}
    for name, free in room.items():
        if free == 0:
            remedy = "Remove what other programs left behind: `tpm2_flushcontext -t -l -s`, `tpm2_nvundefine`."
            yield Finding("tpm.room", Severity.WARNING, f"no room for further {name}", remedy, subject, {name: free})


def judge_clock(clock: EnclaveClock, subject: str) -> Finding:
    """Clock and counts; a clock that is not safe may have gone back after a power cut."""
    facts: dict[str, Fact] = {"resets": clock.reset_count, "restarts": clock.restart_count, "safe": clock.safe}
    what = f"clock {clock.milliseconds / 3_600_000:.1f} h, {clock.reset_count} resets, {clock.restart_count} restarts"
    if clock.safe:
        return Finding("tpm.clock", Severity.OK, what, subject=subject, facts=facts)
    remedy = "Nothing is to be done: it becomes safe by itself. If it repeats, shut the machine down in order."
    return Finding("tpm.clock", Severity.INFO, f"{what}; not safe since a power cut", remedy, subject, facts)


def _lockout(enclave: Enclave, subject: str) -> Iterator[Finding]:
    status = _asked(enclave.status)
    counters = status.lockout if status is not None and status.lockout is not None else _asked(enclave.lockout)
    if counters is not None:
        yield judge_lockout(counters, subject)
    if status is not None and status.owner_auth_set is not None:
        yield judge_owner(subject, is_set=status.owner_auth_set)


def judge_lockout(counters: LockoutStatus, subject: str) -> Finding:
    """The dictionary-attack counters, which disk encryption on this TPM shares."""
    facts: dict[str, Fact] = {"failures": counters.failures, "limit": counters.max_failures, "locked": counters.locked}
    what = f"{counters.failures} of {counters.max_failures} wrong answers before lockout"
    wait = f"{counters.recovery_seconds} s"
    if counters.locked:
        remedy = f"Wait {wait} without a further try, or reset it as lockout authority: `tpm2_dictionarylockout -c`."
        return Finding("tpm.lockout", Severity.ERROR, "the TPM is locked out", remedy, subject, facts)
    if counters.failures:
        remedy = (
            f"One is forgotten every {wait}. Find who answers wrongly: disk encryption, or power cuts while in use."
        )
        return Finding("tpm.lockout", Severity.WARNING, what, remedy, subject, facts)
    return Finding("tpm.lockout", Severity.OK, what, subject=subject, facts=facts)


def judge_owner(subject: str, *, is_set: bool) -> Finding:
    """Whether the storage hierarchy is protected."""
    if is_set:
        return Finding("tpm.owner", Severity.OK, "the owner authorisation is set", subject=subject)
    remedy = "Let the authority take ownership at joining, or set it: `tpm2_changeauth -c owner`."
    return Finding("tpm.owner", Severity.WARNING, "the owner authorisation is empty", remedy, subject)


def _pcrs(enclave: Enclave, subject: str) -> Iterator[Finding]:
    values = _asked(lambda: enclave.read_pcrs(_BOOT_PCRS))
    if values is None:
        return
    if any(any(value) for value in values.values()):
        yield Finding("tpm.pcrs", Severity.OK, "the boot was measured into PCR 0 to 7", subject=subject)
    elif enclave.info.transport is Transport.VIRTUAL:
        yield Finding("tpm.pcrs", Severity.INFO, "PCR 0 to 7 are zero: nothing was measured", subject=subject)
    else:
        remedy = "Enable measured boot (TPM, Secure Boot) in the firmware set-up."
        what = "PCR 0 to 7 are zero: the firmware measured nothing"
        yield Finding("tpm.pcrs", Severity.WARNING, what, remedy, subject)


def tpm_number(info: DeviceInfo) -> int | None:
    """Which of the kernel's TPMs this is; `None` for anything else."""
    match = _TPM_NUMBER.search(info.port) if info.transport is Transport.TPM else None
    return int(match[1]) if match else None


def judge_event_log(machine: Machine, number: int, subject: str) -> Finding:
    """Whether the firmware's event log can be read (TCG PC Client Platform Firmware Profile)."""
    path = f"/sys/kernel/security/tpm{number}/binary_bios_measurements"
    try:
        with machine.path(path).open("rb") as file:
            begun = file.read(64)
    except PermissionError:
        remedy = "Run the diagnosis as root once to see it; policies may do without the event log."
        return Finding("tpm.event-log", Severity.WARNING, f"{path} may not be read by this user", remedy, subject)
    except OSError:
        remedy = "Mount securityfs (`sudo mount -t securityfs none /sys/kernel/security`); some firmware keeps no log."
        return Finding("tpm.event-log", Severity.WARNING, "there is no event log of the boot", remedy, subject)
    if not begun:
        remedy = "Some firmware and some virtual machines keep none: use a policy that does without."
        return Finding("tpm.event-log", Severity.WARNING, "the event log of the boot is empty", remedy, subject)
    return Finding("tpm.event-log", Severity.OK, "the event log of the boot can be read", subject=subject)


def judge_certificate(der: bytes, now: datetime, subject: str) -> Finding:
    """Issuer and validity of one endorsement certificate; whether its chain is trusted is the authority's to say."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        issuer, ends = certificate.issuer.rfc4514_string(), certificate.not_valid_after_utc
        begins, key = certificate.not_valid_before_utc, type(certificate.public_key()).__name__.lstrip("_")
    except UNREADABLE:
        remedy = "The maker's certificate is malformed: have an operator admit the node by the hash of its key."
        return Finding(
            "tpm.certificate", Severity.WARNING, "an endorsement certificate cannot be read", remedy, subject
        )
    facts: dict[str, Fact] = {"issuer": printable(issuer), "not_after": ends.isoformat(), "key": key}
    until = "without end" if ends.year == _ENDLESS_YEAR else f"until {ends:%Y-%m-%d}"
    what = f"endorsement certificate of {printable(issuer, 120)}, valid {until}"
    if begins > now:
        remedy = "Set the clock of this machine."
        what = f"an endorsement certificate is valid from {begins:%Y-%m-%d} only"
        return Finding("tpm.certificate", Severity.WARNING, what, remedy, subject, facts)
    if ends < now:
        remedy = "Ask the maker of the TPM for a new one, or have an operator admit the node by the hash of its key."
        what = f"an endorsement certificate expired on {ends:%Y-%m-%d}"
        return Finding("tpm.certificate", Severity.WARNING, what, remedy, subject, facts)
    severity = Severity.INFO if ends - now < _EXPIRY_NOTICE else Severity.OK
    return Finding("tpm.certificate", severity, what, subject=subject, facts=facts)


def _asked(question: Callable[[], T]) -> T | None:
    """The answer, or `None` from an enclave that does not tell."""
    try:
        return question()
    except Unsupported:
        return None
