"""TPM 2.0 over tpm2-pytss (ESAPI): a chip at /dev/tpmrm0, or an emulator on a socket."""

from drivers.tpm2._driver import Tpm2Driver

__all__ = ["Tpm2Driver"]
