"""What can carry packets between a lab's nodes on this machine: found out by raising one node's wires and tunnel.

    python -m simulators.lab.network.plane

prints it as JSON. It runs as a process of its own, which leaves the caller's network as it is.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from simulators.lab.network.fabric import Port, leave_host_network
from simulators.lab.processes import LabError

FILE, KERNEL, USER = "file", "kernel WireGuard", "wireguard-go"
_TRIAL_S = 30.0


@dataclass(frozen=True)
class DataPlane:
    """`FILE`: keys go into files and no packets pass; else what encrypts them. `why` is a half-sentence for people."""

    name: str
    why: str

    @property
    def carries(self) -> bool:
        """Whether packets pass."""
        return self.name != FILE


def find_data_plane() -> DataPlane:
    """The best that this machine and user can have; a file where nothing else works."""
    argv = [sys.executable, "-m", __name__ if __name__ != "__main__" else "simulators.lab.network.plane"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TRIAL_S, check=True)
        return DataPlane(**json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        return DataPlane(FILE, f"the trial of another one failed ({type(error).__name__})")


def _try() -> DataPlane:
    try:
        leave_host_network()
        with TemporaryDirectory(prefix="kv-") as folder, ExitStack() as stack:
            return _try_tunnel(Port(stack, Path(folder), 1))
    except LabError as error:
        return DataPlane(FILE, str(error))
    except FileNotFoundError as error:
        return DataPlane(FILE, f"{error.filename} is not installed")
    except (OSError, subprocess.SubprocessError):
        return DataPlane(FILE, "network namespaces with cables between them cannot be made here")


def _try_tunnel(port: Port) -> DataPlane:
    kernel = DataPlane(KERNEL, "this kernel has it, and nodes get network namespaces")
    if shutil.which("wireguard-go") is None:
        if port.kernel_has_wireguard():
            return kernel
        return DataPlane(FILE, "wireguard-go is not installed, and this kernel has no WireGuard")
    try:
        port.raise_tunnel()
    except LabError as error:
        return kernel if port.kernel_has_wireguard() else DataPlane(FILE, str(error))
    return DataPlane(USER, "it runs here, and nodes get network namespaces")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_try())))
