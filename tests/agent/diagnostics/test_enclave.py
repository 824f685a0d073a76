from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.diagnostics import Finding, Severity
from agent.diagnostics.enclave import (
    EnclaveExam,
    judge_certificate,
    judge_event_log,
    judge_lockout,
    judge_owner,
    judge_status,
    tpm_number,
)
from agent.diagnostics.machine import Machine
from agent.diagnostics.targets import Target
from hal import (
    Deadline,
    DeviceInfo,
    DeviceKind,
    Disconnected,
    Enclave,
    EnclaveClock,
    EnclaveKind,
    EnclaveStatus,
    Endorsement,
    LockoutStatus,
    Transport,
)
from simulators.devices.swtpm import Swtpm, SwtpmState
from tests.agent.diagnostics.trees import Tree

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def certificate(begins: datetime.datetime, ends: datetime.datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Chip Maker EK CA")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begins).not_valid_after(ends)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


class Chip(Enclave):
    """An enclave with a status, as a hardware TPM would give it."""

    kind = EnclaveKind.TPM2

    def __init__(self, status: EnclaveStatus, certificates: tuple[bytes, ...] = (), pcr: bytes = b"\1" * 32) -> None:
        self._status, self._certificates, self._pcr = status, certificates, pcr
        self.closed = False

    @property
    def info(self) -> DeviceInfo:
        return DeviceInfo(DeviceKind.ENCLAVE, "tpm2", Transport.TPM, "device:/dev/tpmrm0", "IFX", name="SLB9670")

    def close(self) -> None:
        self.closed = True

    def status(self) -> EnclaveStatus:
        return self._status

    def endorsement(self) -> Endorsement:
        return Endorsement(b"public", self._certificates)

    def read_pcrs(self, selection: tuple[int, ...]) -> dict[int, bytes]:
        return dict.fromkeys(selection, self._pcr)


class Slot(Target):
    """A target whose driver hands out this enclave."""

    enclave: Enclave

    def is_made(self) -> bool:
        return True

    def open(self, deadline: Deadline) -> Enclave:
        return self.enclave


def examine(enclave: Enclave, tree: Tree | None = None) -> dict[str, Finding]:
    slot = Slot("enclave", "tpm2", {})
    object.__setattr__(slot, "enclave", enclave)
    exam = EnclaveExam(tree.machine if tree else Machine(Path("/nonexistent")), lambda: NOW)
    return {found.id: found for found in exam.examine(slot, Deadline.after(60))}


CLOCK = EnclaveClock(7_200_000, 12, 0, safe=True)
GOOD = EnclaveStatus(
    "IFX", "SLB9670", "7.85", CLOCK, LockoutStatus(0, 32, 600, locked=False), ("sha1", "sha256"), owner_auth_set=True
)


def test_a_good_chip_is_well(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file("/sys/kernel/security/tpm0/binary_bios_measurements", b"events")
    chip = Chip(GOOD, (certificate(NOW - 400 * DAY, NOW + 4000 * DAY),))
    found = examine(chip, tree)
    assert set(found) == {
        "enclave.usable",
        "tpm.banks",
        "tpm.clock",
        "tpm.lockout",
        "tpm.owner",
        "tpm.certificate",
        "tpm.pcrs",
        "tpm.event-log",
    }
    assert {finding.severity for finding in found.values()} == {Severity.OK}
    assert "firmware 7.85" in found["enclave.usable"].what
    assert "Chip Maker EK CA" in found["tpm.certificate"].facts["issuer"]
    assert chip.closed


def test_the_real_software_tpm(tpm_state: SwtpmState, tmp_path: Path) -> None:
    """Through the shipped driver: what it does not tell is passed over, what it tells is judged."""
    with Swtpm(tpm_state.copy(tmp_path / "tpm")) as swtpm:
        exam = EnclaveExam(Machine(Path("/nonexistent")))
        target = Target("enclave", "tpm2", {"tcti": swtpm.tcti})
        found = list(exam.examine(target, Deadline.after(60)))
    by_id = {finding.id: finding for finding in found}
    assert by_id["enclave.usable"].severity is Severity.OK
    assert by_id["device.virtual"].severity is Severity.INFO
    assert by_id["tpm.pcrs"].severity is Severity.INFO
    certificates = [finding for finding in found if finding.id == "tpm.certificate"]
    assert certificates
    assert {finding.severity for finding in certificates} == {Severity.OK}
    assert "tpm.event-log" not in by_id, "the kernel knows nothing of it"


def test_whether_the_owner_authorisation_is_set_comes_from_the_tpm(tpm_state: SwtpmState, tmp_path: Path) -> None:
    """Set by another program, tpm2-tools."""
    with Swtpm(tpm_state.copy(tmp_path / "tpm")) as swtpm:
        target = Target("enclave", "tpm2", {"tcti": swtpm.tcti})

        def owner() -> Severity:
            found = EnclaveExam(Machine(Path("/nonexistent"))).examine(target, Deadline.after(60))
            return next(finding.severity for finding in found if finding.id == "tpm.owner")

        assert owner() is Severity.WARNING
        subprocess.run(["tpm2_changeauth", "-T", swtpm.tcti, "-c", "owner", "x"], check=True, capture_output=True)
        assert owner() is Severity.OK


def test_a_tpm_without_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir(mode=0o700)
    with Swtpm(tmp_path / "bare") as swtpm:
        target = Target("enclave", "tpm2", {"tcti": swtpm.tcti})
        found = {each.id: each for each in EnclaveExam(Machine()).examine(target, Deadline.after(60))}
    assert found["tpm.endorsement"].severity is Severity.WARNING
    assert found["tpm.endorsement"].remedy


def test_a_tpm_that_is_not_there() -> None:
    target = Target("enclave", "tpm2", {"tcti": "swtpm:path=/nonexistent"})
    (found,) = EnclaveExam(Machine()).examine(target, Deadline.after(60))
    assert (found.id, found.severity) == ("enclave.usable", Severity.ERROR)
    assert found.remedy


def test_a_software_enclave_is_examined_and_never_made(tmp_path: Path) -> None:
    folder = tmp_path / "enclave"
    target = Target("enclave", "software", {"folder": str(folder)})
    (found,) = EnclaveExam(Machine()).examine(target, Deadline.after(60))
    assert (found.id, found.severity) == ("enclave.made", Severity.INFO)
    assert not folder.exists()
    with target.open(Deadline.after(60)):
        pass
    before = sorted(folder.iterdir())
    assert next(iter(EnclaveExam(Machine()).examine(target, Deadline.after(60)))).id == "enclave.usable"
    assert sorted(folder.iterdir()) == before


def test_one_answer_that_fails_does_not_hide_the_next() -> None:
    class Crooked(Chip):
        def endorsement(self) -> Endorsement:
            raise Disconnected("gone in between")

    found = examine(Crooked(GOOD))
    assert found["enclave.answers"].severity is Severity.ERROR
    assert found["tpm.pcrs"].severity is Severity.OK


def test_a_chip_that_measured_nothing() -> None:
    assert examine(Chip(GOOD, pcr=bytes(32)))["tpm.pcrs"].severity is Severity.WARNING


def test_an_enclave_that_tells_nothing_is_no_error() -> None:
    class Silent(Enclave):
        kind = EnclaveKind.SOFTWARE

        @property
        def info(self) -> DeviceInfo:
            return DeviceInfo(DeviceKind.ENCLAVE, "software", Transport.SOFTWARE, "file")

        def close(self) -> None:
            pass

    found = examine(Silent())
    assert {name: finding.severity for name, finding in found.items()} == {
        "enclave.usable": Severity.OK,
        "tpm.endorsement": Severity.INFO,
    }


@pytest.mark.parametrize(
    ("status", "identity", "severity"),
    [
        (EnclaveStatus("", "", "", pcr_banks=("sha1",)), "tpm.banks", Severity.ERROR),
        (EnclaveStatus("", "", "", clock=EnclaveClock(1, 2, 3, safe=False)), "tpm.clock", Severity.INFO),
        (EnclaveStatus("", "", "", free_objects=0), "tpm.room", Severity.WARNING),
        (EnclaveStatus("", "", "", free_counters=0), "tpm.room", Severity.WARNING),
    ],
)
def test_what_a_status_gives_away(status: EnclaveStatus, identity: str, severity: Severity) -> None:
    (found,) = judge_status(status, "enclave")
    assert (found.id, found.severity) == (identity, severity)
    assert found.remedy


def test_a_status_that_tells_nothing_gives_nothing_away() -> None:
    assert list(judge_status(EnclaveStatus("", "", ""), "enclave")) == []


@pytest.mark.parametrize(
    ("counters", "severity"),
    [
        (LockoutStatus(0, 32, 600, locked=False), Severity.OK),
        (LockoutStatus(3, 32, 600, locked=False), Severity.WARNING),
        (LockoutStatus(32, 32, 600, locked=True), Severity.ERROR),
    ],
)
def test_lockout(counters: LockoutStatus, severity: Severity) -> None:
    found = judge_lockout(counters, "enclave")
    assert found.severity is severity
    assert found.severity is Severity.OK or "600 s" in found.remedy


def test_an_empty_owner_authorisation_is_a_warning() -> None:
    assert judge_owner("enclave", is_set=False).severity is Severity.WARNING
    assert judge_owner("enclave", is_set=True).severity is Severity.OK


@pytest.mark.parametrize(
    ("begins", "ends", "severity"),
    [
        (NOW - DAY, NOW + 400 * DAY, Severity.OK),
        (NOW - DAY, datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC), Severity.OK),
        (NOW - DAY, NOW + 5 * DAY, Severity.INFO),
        (NOW - 2 * DAY, NOW - DAY, Severity.WARNING),
        (NOW + DAY, NOW + 2 * DAY, Severity.WARNING),
    ],
)
def test_validity_of_an_endorsement_certificate(
    begins: datetime.datetime, ends: datetime.datetime, severity: Severity
) -> None:
    assert judge_certificate(certificate(begins, ends), NOW, "enclave").severity is severity


@pytest.mark.parametrize("der", [b"", b"\x30\x82\xff\xff", b"garbage" * 40, certificate(NOW, NOW + DAY)[:-9]])
def test_a_malformed_certificate_is_a_warning(der: bytes) -> None:
    found = judge_certificate(der, NOW, "enclave")
    assert found.severity is Severity.WARNING
    assert found.remedy


@pytest.mark.parametrize(("content", "severity"), [(b"log", Severity.OK), (b"", Severity.WARNING)])
def test_the_event_log(tmp_path: Path, content: bytes, severity: Severity) -> None:
    tree = Tree(tmp_path)
    tree.file("/sys/kernel/security/tpm3/binary_bios_measurements", content)
    assert judge_event_log(tree.machine, 3, "enclave").severity is severity
    assert judge_event_log(tree.machine, 0, "enclave").severity is Severity.WARNING


@pytest.mark.parametrize(
    ("transport", "port", "number"),
    [
        (Transport.TPM, "device:/dev/tpmrm0", 0),
        (Transport.TPM, "device:/dev/tpm12", 12),
        (Transport.VIRTUAL, "swtpm:path=/dev/tpmrm0", None),
        (Transport.TPM, "device:/dev/other", None),
    ],
)
def test_which_tpm_of_the_kernel_it_is(transport: Transport, port: str, number: int | None) -> None:
    assert tpm_number(DeviceInfo(DeviceKind.ENCLAVE, "tpm2", transport, port)) == number
