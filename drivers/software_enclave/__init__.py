"""Keys in files: for machines that have nothing better. The authority caps what such a node is worth."""

from drivers.software_enclave._driver import SoftwareEnclaveDriver

__all__ = ["SoftwareEnclaveDriver"]
