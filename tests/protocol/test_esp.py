"""Keys of ESP: golden, and by RFC 5869 done by hand."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from protocol.codec import length_prefixed
from protocol.esp import ESP_KEY_BYTES, esp_keys
from tests.protocol.vectors import load


@pytest.mark.parametrize("case", load("esp")["keys"])
def test_golden_keys(case: dict) -> None:
    assert esp_keys(bytes.fromhex(case["key"])).hex() == case["esp"]


@pytest.mark.parametrize("case", load("esp")["keys"])
def test_they_are_hkdf_without_salt(case: dict) -> None:
    pseudorandom = hmac.digest(bytes(32), bytes.fromhex(case["key"]), hashlib.sha256)
    info = length_prefixed("keyvigil/esp/1")
    first = hmac.digest(pseudorandom, info + b"\x01", hashlib.sha256)
    second = hmac.digest(pseudorandom, first + info + b"\x02", hashlib.sha256)
    assert (first + second)[:ESP_KEY_BYTES].hex() == case["esp"]


def test_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        esp_keys(bytes(31))
