"""Software TPMs with a manufactured identity: a certificate authority, TPM states, and the swtpm process.

Everything runs in user space with configuration files of its own, so that nothing under /etc or /var is touched.
Sources: swtpm(8), swtpm_setup(8), swtpm-localca(8).
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from hal import DeviceError, NotFound, TimedOut
from simulators.devices.faults import Fault, FaultOrder, require_playable
from simulators.devices.swtpm_faults import TPM_FAULTS, TpmFaults
from simulators.devices.tpm_bus import TpmBus
from simulators.devices.tpm_program import MANUFACTURER_QUESTION, TpmProgram, ask, response_code

START_SECONDS = 10.0
STOP_SECONDS = 5.0
SETUP_SECONDS = 60.0
SOCKET_PATH_LIMIT = 107
"""Bytes of sun_path on Linux, less the closing zero."""

_HEADER_BYTES = 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_INSTALL = "Install the simulator's packages: apt-get install swtpm swtpm-tools."


@dataclass(frozen=True)
class SwtpmState:
    """The persistent state of one manufactured TPM; every copy has the same identity."""

    name: str
    path: Path

    def copy(self, to: Path) -> SwtpmState:
        """A second TPM state with the *same* endorsement key, in the new folder `to`: quick, for tests of one node."""
        shutil.copytree(self.path, to)
        to.chmod(0o700)
        (to / ".lock").unlink(missing_ok=True)
        return SwtpmState(self.name, to)


class SwtpmFactory:
    """A TPM manufacturer: one certificate authority, and any number of TPMs with endorsement certificates.

    A manufactured TPM has an RSA-2048 and an ECC P-384 endorsement key, each with a certificate in NV, and a SHA-256
    PCR bank only. About one second each.
    """

    def __init__(self, folder: Path) -> None:
        """Use `folder` (made with mode 0700 when absent); the authority of an earlier factory there is kept."""
        self._folder = folder.absolute()
        for part in (self._folder, self._folder / "ca", self._folder / "states"):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._configuration = self._write_configuration()

    def manufacture(self, name: str) -> SwtpmState:
        """A TPM with an identity of its own; the state of an earlier one of the same `name` is returned as it is.

        Raises `NotFound` when swtpm is not installed, `DeviceError` when manufacturing fails, `ValueError` for a name
        that is not a file name.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name for a TPM: {name!r}")
        state = self._folder / "states" / name
        if not state.exists():
            self._set_up(state)
        return SwtpmState(name, state)

    def fresh(self, folder: Path, identity: int = 0) -> SwtpmState:
        """A TPM as its maker shipped it, in the new `folder`: the copy of a template that is manufactured once.

        Quick, for tests that need a TPM of their own; those of one `identity` have one endorsement key.
        """
        return self.manufacture(f"template-{identity}").copy(folder)

    @property
    def ca_certificates(self) -> bytes:
        """The manufacturer's certificates, root first and issuer second, in PEM."""
        root, issuer = (self._folder / "ca" / name for name in ("swtpm-localca-rootca-cert.pem", "issuercert.pem"))
        if not issuer.exists():
            with tempfile.TemporaryDirectory(dir=self._folder) as scrap:
                self._set_up(Path(scrap) / "first")
        return root.read_bytes() + issuer.read_bytes()

    def _set_up(self, state: Path) -> None:
        """Make the state beside its final place and move it there, so that a half-made one is never used."""
        with tempfile.TemporaryDirectory(dir=self._folder) as scrap:
            made = Path(scrap) / "state"
            made.mkdir(mode=0o700)
            self._run_setup(made, Path(scrap) / "log")
            made.rename(state)

    def _run_setup(self, state: Path, log: Path) -> None:
        options = ["--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--pcr-banks", "sha256"]
        where = ["--tpmstate", str(state), "--config", str(self._configuration), "--logfile", str(log)]
        try:
            done = subprocess.run(
                [_program("swtpm_setup"), "--tpm2", *where, *options],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SETUP_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TimedOut("swtpm_setup did not finish") from error
        if done.returncode != 0:
            raise DeviceError(f"swtpm_setup failed: {_tail(log)}", remedy=_INSTALL)

    def _write_configuration(self) -> Path:
        ca = self._folder / "ca"
        localca = self._folder / "localca.conf"
        localca.write_text(
            f"statedir={ca}\nsigningkey={ca}/signkey.pem\nissuercert={ca}/issuercert.pem\ncertserial={ca}/certserial\n"
        )
        options = self._folder / "localca.options"
        options.write_text("--platform-manufacturer Keyvigil\n--platform-version 1.0\n--platform-model Simulated\n")
        setup = self._folder / "setup.conf"
        setup.write_text(
            f"create_certs_tool={_program('swtpm_localca')}\ncreate_certs_tool_config={localca}\n"
            f"create_certs_tool_options={options}\nactive_pcr_banks=sha256\n"
        )
        return setup


class Swtpm:
    """One running swtpm process on a UNIX socket; a context manager, and a `Faulty` device.

    The state folder may be empty: the TPM is then a bare one, with an endorsement key but no certificate for it. The
    path that `tcti` names is a link: to the emulator's own socket, or to a bus in front of it while faults are played.
    """

    def __init__(self, state: Path | SwtpmState, socket_folder: Path | None = None) -> None:
        """Start a TPM on `state`; its sockets lie in `socket_folder`, or in a private folder that `close` removes.

        Raises `NotFound` when swtpm is not installed, `DeviceError` when it does not start.
        """
        self._state = state.path if isinstance(state, SwtpmState) else state
        self._private = None if socket_folder else tempfile.TemporaryDirectory(prefix="swtpm-")
        self._folder = socket_folder or Path(self._private.name if self._private else "")
        self._process: subprocess.Popen[bytes] | None = None
        self._faults = TpmFaults(self)
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def tcti(self) -> str:
        """Where a TPM software stack finds this TPM."""
        return f"swtpm:path={self._socket}"

    @property
    def pid(self) -> int | None:
        """Process id while the TPM is powered."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Power the TPM on, and return when it answers."""
        if self._process is not None:
            return
        self._announcement.unlink(missing_ok=True)
        os.mkfifo(self._announcement, 0o600)
        ready = os.open(self._announcement, os.O_RDONLY | os.O_NONBLOCK)
        try:
            self._process = self._launch()
            self._wait(self._process, ready)
        finally:
            os.close(ready)
        if not self._socket.is_symlink():
            self.lead_to(self.chip_socket)

    def stop(self) -> None:
        """Power the TPM off by SIGTERM to its own process, and reap it; a suspended TPM too."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Cut the power: SIGKILL, without any time for the TPM to tidy up."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """Stall the TPM: it stays connected and never answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stalled TPM go on."""
        self._signal(signal.SIGCONT)

    def reboot(self) -> None:
        """Power off and on: the PCRs start anew, the reset counter advances, the keys stay."""
        self.stop()
        self.start()

    @property
    def faults(self) -> frozenset[Fault]:
        """The faults that this TPM can play; `PERMISSION_DENIED` shows to other users than root only."""
        return TPM_FAULTS

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault; raises `ValueError` for one that is not in `faults`."""
        require_playable(self, order)
        self._faults.inject(order)

    def mend(self) -> None:
        """End every fault; a TPM without power gets it back."""
        self._faults.mend()

    @property
    def bus(self) -> TpmBus:
        """The wire to this TPM, which hears everything from now on until `mend`."""
        return self._faults.bus

    def extend(self, register: int, digest: bytes) -> None:
        """Extend a register of the SHA-256 bank by 32 bytes, as firmware or another program does."""
        TpmProgram(self.chip_socket, START_SECONDS).extend(register, digest)

    @property
    def chip_socket(self) -> Path:
        """Where the emulator itself listens."""
        return self._folder / "chip"

    def lead_to(self, socket_file: Path | None) -> None:
        """Let the path in `tcti` lead to another socket, or nowhere; the control channel stays."""
        control = Path(f"{self._socket}.ctrl")
        if socket_file is None:
            self._socket.unlink(missing_ok=True)
            control.unlink(missing_ok=True)
            return
        for link, target in ((self._socket, socket_file.name), (control, f"{self.chip_socket.name}.ctrl")):
            new = self._folder / "link"
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            new.rename(link)

    def close(self) -> None:
        """End the process, its faults, and the private socket folder; closing twice is allowed."""
        self._faults.close()
        self.stop()
        if self._private is not None:
            self._private.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _socket(self) -> Path:
        return self._folder / "tpm"

    @property
    def _announcement(self) -> Path:
        return self._folder / "pid"

    def _launch(self) -> subprocess.Popen[bytes]:
        control = f"{self.chip_socket}.ctrl"
        if len(os.fsencode(control)) > SOCKET_PATH_LIMIT:
            raise DeviceError(f"socket path too long: {control}", remedy="Choose a shorter folder for the socket.")
        for stale in (self.chip_socket, Path(control)):
            stale.unlink(missing_ok=True)
        sockets = ["--server", f"type=unixio,path={self.chip_socket},mode=0600"]
        sockets += ["--ctrl", f"type=unixio,path={control},mode=0600"]
        records = ["--pid", f"file={self._announcement}", "--log", f"file={self._log},truncate"]
        state = ["--tpmstate", f"dir={self._state},mode=0600", "--flags", "not-need-init,startup-clear"]
        return subprocess.Popen(
            [_program("swtpm"), "socket", "--tpm2", *state, *sockets, *records],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait(self, process: subprocess.Popen[bytes], ready: int) -> None:
        """swtpm writes its process id, here into a FIFO, once its sockets listen; it loads its state after that."""
        ended = os.pidfd_open(process.pid)
        try:
            readable, _, _ = select.select([ready, ended], [], [], START_SECONDS)
        finally:
            os.close(ended)
        if ready in readable and os.read(ready, 32) and self._answers():
            return
        self.kill()
        raise DeviceError(f"swtpm did not start: {_tail(self._log)}", remedy="Check the folder of the TPM's state.")

    def _answers(self) -> bool:
        """Whether the TPM takes its first command; the connection breaks when it cannot load its state."""
        try:
            answer = ask(self.chip_socket, MANUFACTURER_QUESTION, START_SECONDS)
        except OSError:
            return False
        return len(answer) > _HEADER_BYTES and response_code(answer) == 0

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NotFound(f"the program {name} is not installed", remedy=_INSTALL)
    return found


def _tail(log: Path) -> str:
    """The last lines that a tool logged: the cause comes before the consequence."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return "; ".join(lines[-3:]) or "it logged nothing"
