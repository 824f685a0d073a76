"""PKCS#11 tokens over python-pkcs11: HSMs, smart cards, OP-TEE, and SoftHSM2 for tests."""

from drivers.pkcs11._driver import Pkcs11Driver

__all__ = ["Pkcs11Driver"]
