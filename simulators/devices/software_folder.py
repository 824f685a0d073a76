"""What can befall the folder of a software enclave: damage, a lost right, a full disk, a removed medium."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from pathlib import Path

from hal import PermissionDenied
from simulators.devices.fault_orders import OrderInForce
from simulators.devices.faults import Fault, FaultOrder, require_playable

_NOBODY = 65_534
_DETACH = 2


class SoftwareFolder:
    """A folder that a driver makes and fills; faults befall what is in it. `close` is `mend`."""

    faults = frozenset({Fault.CORRUPT, Fault.PERMISSION_DENIED, Fault.UNPLUG, Fault.NV_FULL})

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._aside = folder.with_name(f"{folder.name}.aside")
        self._kept = folder.with_name(f"{folder.name}.kept")
        self._full = False

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault; `CORRUPT` changes that share of the bytes of each file, at least one."""
        require_playable(self, order)
        with self._lock:
            match order.fault:
                case Fault.UNPLUG:
                    self.folder.rename(self._aside)
                case Fault.PERMISSION_DENIED:
                    self._give_away()
                case Fault.NV_FULL:
                    self._fill()
                case _:
                    self._corrupt(order)

    def mend(self) -> None:
        """End every fault: the files are as they were."""
        with self._lock:
            if self._full:
                ctypes.CDLL(None).umount2(os.fsencode(self.folder), _DETACH)
                self._full = False
            if self._aside.exists():
                shutil.rmtree(self.folder, ignore_errors=True)
                self._aside.rename(self.folder)
            if self._kept.exists():
                shutil.rmtree(self.folder, ignore_errors=True)
                self._kept.rename(self.folder)
            if self.folder.exists():
                self._own(os.geteuid())

    def _corrupt(self, order: FaultOrder) -> None:
        if not self._kept.exists():
            shutil.copytree(self.folder, self._kept)
        one = OrderInForce(order)
        for file in sorted(self.folder.iterdir()):
            file.write_bytes(one.spoiled(file.read_bytes(), least=1))

    def _give_away(self) -> None:
        """A superuser gives the files to somebody else; anybody else takes the rights from himself."""
        if os.geteuid() == 0:
            self._own(_NOBODY)
        else:
            self.folder.chmod(0)

    def _own(self, user: int) -> None:
        if os.geteuid() != 0:
            self.folder.chmod(0o700)
            return
        for path in (self.folder, *self.folder.iterdir()):
            os.chown(path, user, -1)

    def _fill(self) -> None:
        """The same files on a disk without a free block: a small one that is mounted over the folder and filled."""
        shutil.copytree(self.folder, self._kept)
        argv = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(self.folder)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(self._kept)
            raise PermissionDenied(f"nothing can be mounted here: {done.stderr.strip()}", remedy="Run as root.")
        self._full = True
        shutil.copytree(self._kept, self.folder, dirs_exist_ok=True)
        with (self.folder / "filling").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return
