"""A PKCS#11 token made of SoftHSM2 (softhsm2 2.6): a store in a folder, one token in it, and what can befall it.

Anything that speaks PKCS#11 may use it: `module` is the library, `environment()` what it reads when it starts.

What was found with SoftHSM 2.6.1, and what follows from it here:

- It has no lockout: wrong PINs only raise the flag CKF_USER_PIN_COUNT_LOW. A locked token is therefore played by the
  flag CKF_USER_PIN_LOCKED in its stored attributes, as a hardware token would report it.
- It holds a POSIX lock on a token's `generation` file while it reads or writes objects. A stalled token is therefore
  played by another process that holds this lock and does not let go.
- It ends the whole process ("a fatal exception occurred") over an object file whose lengths are damaged. What is
  spoiled on demand is therefore the stored values alone.
- A token whose folder vanishes while it is in use is written to its old place as far as there is one: `mend` puts back
  what was there when it vanished.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from hal import DeviceError, NotFound
from simulators.devices.fault_orders import OrderInForce
from simulators.devices.faults import Fault, FaultOrder, require_playable

MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
)
FINAL_TRY, LOCKED = 0x00020000, 0x00040000
"""CKF_USER_PIN_FINAL_TRY and CKF_USER_PIN_LOCKED: PKCS #11 2.40, table 6."""
_FLAGS = (0x8000534B).to_bytes(8, "big") + (2).to_bytes(8, "big")
"""Type of the stored attribute that holds a token's flags, and its kind (number); the value follows in 8 bytes."""
_INSTALL = "Install the software token: apt-get install softhsm2."
_SETUP_SECONDS = 20.0
_HOLD_LOCK = (
    "import fcntl, sys\n"
    "file = open(sys.argv[1], 'r+b')\n"
    "fcntl.lockf(file, fcntl.LOCK_EX)\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


class SoftHsm:
    """One token; a context manager. `folder` is made with mode 0700 and holds store, configuration and PIN file.

    Several tokens may share a folder: a process starts the module once, and then sees all of them.
    """

    faults = frozenset({Fault.UNPLUG, Fault.PERMISSION_DENIED, Fault.LOCKOUT, Fault.CORRUPT, Fault.STALL})

    def __init__(self, folder: Path, label: str = "keyvigil", pin: str = "") -> None:
        """Initialise the token with a random PIN unless one is given; raises `NotFound` without SoftHSM2."""
        self._folder = folder.absolute()
        self._label, self._pin = label, pin or str(secrets.randbelow(10**8)).rjust(8, "0")
        self._lock = threading.Lock()
        self._snapshot: Path | None = None
        self._stalling: list[subprocess.Popen[bytes]] = []
        for part in (self._folder, self._store):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._configuration.write_text(
            f"directories.tokendir = {self._store}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        self.write_pin(self._pin)
        self.module = _module()
        before = {*self._store.iterdir()}
        self._initialise()
        (self._token,) = {*self._store.iterdir()} - before

    @property
    def label(self) -> str:
        """The token's label."""
        return self._label

    @property
    def pin_file(self) -> Path:
        """A file of mode 0600 with the token's PIN."""
        return self._folder / f"pin-{self._label}"

    def environment(self) -> dict[str, str]:
        """The variables that the module reads when it starts."""
        return {"SOFTHSM2_CONF": str(self._configuration)}

    def write_pin(self, pin: str) -> None:
        """Write another PIN into the PIN file, right or wrong."""
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(pin + "\n")

    def right_pin(self) -> None:
        """Write the right PIN into the PIN file."""
        self.write_pin(self._pin)

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault. `LOCKOUT` and `CORRUPT` show at the module's next start, the others at once."""
        require_playable(self, order)
        with self._lock:
            self._keep()
            match order.fault:
                case Fault.UNPLUG:
                    shutil.rmtree(self._token)
                case Fault.PERMISSION_DENIED:
                    self._store.chmod(0)
                case Fault.LOCKOUT:
                    self._raise_flag(LOCKED)
                case Fault.CORRUPT:
                    self._corrupt(order)
                case _:
                    self._stall()

    def last_try(self) -> None:
        """Let the token say, from the module's next start on, that one try of the PIN is left."""
        with self._lock:
            self._keep()
            self._raise_flag(FINAL_TRY)

    def mend(self) -> None:
        """End every fault: the token is there, readable, with everything it held before the first of them."""
        with self._lock:
            for process in self._stalling:
                process.kill()
                process.communicate()
            self._stalling.clear()
            self._store.chmod(0o700)
            if self._snapshot is not None:
                shutil.rmtree(self._token, ignore_errors=True)
                self._snapshot.rename(self._token)
                self._snapshot = None

    def close(self) -> None:
        """End every fault; closing twice is allowed."""
        self.mend()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _store(self) -> Path:
        return self._folder / "tokens"

    @property
    def _configuration(self) -> Path:
        return self._folder / "softhsm2.conf"

    def _initialise(self) -> None:
        argv = ["softhsm2-util", "--init-token", "--free", "--label", self._label]
        argv += ["--pin", self._pin, "--so-pin", secrets.token_hex(8), "--module", str(self.module)]
        try:
            done = subprocess.run(
                argv,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SETUP_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise NotFound("the program softhsm2-util is not installed", remedy=_INSTALL) from None
        if done.returncode != 0:
            raise DeviceError(f"softhsm2-util failed: {done.stderr.strip()}", remedy=_INSTALL)

    def _keep(self) -> None:
        """Remember the token as it was before the first fault."""
        if self._snapshot is None:
            self._snapshot = self._folder / f"snapshot-{self._label}"
            shutil.copytree(self._token, self._snapshot)

    def _raise_flag(self, flag: int) -> None:
        file = self._token / "token.object"
        data = bytearray(file.read_bytes())
        at = data.index(_FLAGS) + len(_FLAGS)
        data[at : at + 8] = (int.from_bytes(data[at : at + 8], "big") | flag).to_bytes(8, "big")
        file.write_bytes(data)

    def _corrupt(self, order: FaultOrder) -> None:
        """Spoil that share of the bytes of every stored value (keys, labels, identifiers)."""
        one = OrderInForce(order)
        for file in sorted(self._token.glob("*-*.object")):
            data = bytearray(file.read_bytes())
            places = list(_value_bytes(bytes(data)))
            for at, value in zip(places, one.spoiled(bytes(data[at] for at in places)), strict=True):
                data[at] = value
            file.write_bytes(data)

    def _stall(self) -> None:
        """Take the locks of the token's files in another process, and return when they are held."""
        for file in sorted([*self._token.glob("*.lock"), self._token / "generation"]):
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _HOLD_LOCK, str(file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            self._stalling.append(process)
            if process.stdout is None or process.stdout.readline() != b"held\n":
                raise DeviceError(f"the lock of {file.name} could not be taken")


def _value_bytes(data: bytes) -> Iterator[int]:
    """Positions of the bytes of every byte-string value of a stored object.

    A file is a counter (8 bytes), then attributes: type (8), kind (8), and a value: one byte (kind 1), eight (2), or a
    length of eight and that many (3). The few attributes of other kinds come last and are left alone.
    """
    at = 8
    while at + 16 <= len(data):
        kind, at = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        size = {1: 1, 2: 8}.get(kind, 0)
        if kind == 3:
            size, at = int.from_bytes(data[at : at + 8], "big"), at + 8
            yield from range(at, at + size)
        elif not size:
            return
        at += size


def _module() -> Path:
    found = next((path for path in MODULES if path.exists()), None)
    if found is None:
        raise NotFound("SoftHSM2's module is not installed", remedy=_INSTALL)
    return found
