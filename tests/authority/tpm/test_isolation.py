"""The verifier runs where no TPM software stack is installed."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Refuse())
import {module}
print("imported")
"""
DEVICES = {"tpm2_pytss", "hal", "drivers", "agent", "simulators", "numpy"}


def import_without(module: str, blocked: set[str]) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(module=module, blocked=blocked)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_the_verifier_imports_without_tpm_stack_or_device_packages():
    done = import_without("authority.tpm", DEVICES)
    assert done.stdout == "imported\n", done.stderr


def test_the_block_does_block():
    done = import_without("drivers.tpm2._enclave", {"tpm2_pytss"})
    assert "blocked: tpm2_pytss" in done.stderr
