"""What a return value of a PKCS#11 module means to a person.

Codes: PKCS #11 Cryptographic Token Interface Base Specification 2.40 (OASIS), 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from pkcs11 import exceptions as ck

from hal import (
    AuthorisationFailed,
    Busy,
    DeviceError,
    Disconnected,
    PermissionDenied,
    ProtocolError,
    Unsupported,
)


@dataclass(frozen=True)
class _Meaning:
    """What some return values mean; without a `remedy` the error's own stands."""

    codes: tuple[type[ck.PKCS11Error], ...]
    kind: type[DeviceError]
    text: str
    remedy: str | None = None


_MEANINGS = (
    _Meaning(
        (ck.PinIncorrect, ck.PinInvalid, ck.PinLenRange),
        AuthorisationFailed,
        "refused: wrong PIN",
        "Correct the PIN in `pin_file` before the next try: a token locks after a few wrong ones.",
    ),
    _Meaning(
        (ck.PinLocked,),
        AuthorisationFailed,
        "refused: the PIN is locked after too many wrong ones",
        "Unlock it as the token's security officer: pkcs11-tool --login --login-type so --init-pin.",
    ),
    _Meaning(
        (ck.PinExpired, ck.UserPinNotInitialized),
        AuthorisationFailed,
        "refused: the user's PIN is expired or was never set",
        "Set it: pkcs11-tool --login --login-type so --init-pin.",
    ),
    _Meaning(
        (ck.EncryptedDataInvalid, ck.EncryptedDataLenRange, ck.SignatureInvalid, ck.SignatureLenRange),
        AuthorisationFailed,
        "refused: wrong authorisation value, or the data is damaged or of another token",
    ),
    _Meaning(
        (
            ck.DeviceRemoved,
            ck.TokenNotPresent,
            ck.TokenNotRecognised,
            ck.SlotIDInvalid,
            ck.SessionHandleInvalid,
            ck.SessionClosed,
            ck.UserNotLoggedIn,
            ck.DeviceError,
        ),
        Disconnected,
        "failed: the token went away",
        "Insert the token again and check its reader.",
    ),
    _Meaning(
        (ck.SessionCount, ck.AnotherUserAlreadyLoggedIn, ck.UserAlreadyLoggedIn, ck.OperationActive, ck.SessionExists),
        Busy,
        "failed: the token is in use",
        "Stop the other program that uses the token, then try again.",
    ),
    _Meaning(
        (ck.DeviceMemory,),
        DeviceError,
        "failed: the token is full",
        "Delete keys that are no longer used: pkcs11-tool --login --delete-object, labels beginning with `keyvigil`.",
    ),
    _Meaning(
        (ck.TokenWriteProtected, ck.SessionReadOnly),
        PermissionDenied,
        "failed: the token is write-protected",
        "Take the write protection off the token, or use another.",
    ),
    _Meaning(
        (
            ck.MechanismInvalid,
            ck.MechanismParamInvalid,
            ck.FunctionNotSupported,
            ck.RandomNoRNG,
            ck.KeySizeRange,
            ck.TemplateInconsistent,
            ck.TemplateIncomplete,
            ck.AttributeTypeInvalid,
            ck.AttributeValueInvalid,
            ck.DomainParamsInvalid,
            ck.KeyTypeInconsistent,
        ),
        Unsupported,
        "failed: the token cannot do this",
        "Use a token with P-256 ECDSA and ECDH and with AES-256-GCM: pkcs11-tool --list-mechanisms shows what it has.",
    ),
)
_UNKNOWN = _Meaning((), ProtocolError, "failed")
_BAD_DATA = _Meaning((), AuthorisationFailed, _MEANINGS[3].text)
_AMBIGUOUS = (ck.GeneralError, ck.FunctionFailed, ck.ObjectHandleInvalid, ck.KeyHandleInvalid, ck.ArgumentsBad)


def is_ambiguous(error: Exception) -> bool:
    """Whether the module said so little that only asking the token again tells what it meant."""
    return isinstance(error, _AMBIGUOUS)


def translate(error: Exception, what: str, *, opening_data: bool = False) -> DeviceError:
    """The error of our tree for what the module said during `what`.

    Some modules say no more than "general error" of a wrong GCM tag: with `opening_data` that is what it means.
    """
    if opening_data and is_ambiguous(error):
        meaning = _BAD_DATA
    else:
        meaning = next((one for one in _MEANINGS if isinstance(error, one.codes)), _UNKNOWN)
    return meaning.kind(f"PKCS#11: {what} {meaning.text} ({_code(error)})", remedy=meaning.remedy)


def gone(what: str) -> Disconnected:
    """The token does not answer any more."""
    return Disconnected(f"PKCS#11: the token went away during {what}", remedy=_MEANINGS[4].remedy)


def _code(error: Exception) -> str:
    return type(error).__name__
