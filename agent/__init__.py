"""Node agent: captures, biometrics, sealed profiles, attestation, key sinks, and its command line."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("keyvigil")
except PackageNotFoundError:
    __version__ = "0"
