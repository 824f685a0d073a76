"""What a TPM's or the stack's response code means to a person.

Codes: TCG TPM 2.0 Library Part 2, 6.6 (TPM_RC); TCG TSS 2.0 Overview, 3.3 (layers above).
"""

from __future__ import annotations

from dataclasses import dataclass

from hal import AuthorisationFailed, Busy, DeviceError, Disconnected, NotFound, ProtocolError, Unsupported

_LAYER_MASK = 0xFF0000
_TPM_LAYERS = frozenset({0x000000, 0x0B0000, 0x0C0000})
_TCTI_LAYER = 0x0A0000
_TCTI_GONE = frozenset({8, 9, 10})
_TCTI_ABSENT = frozenset({2, 21})
_FORMAT_ONE = 0x80
_PARAMETER = 0x40


WRONG_AUTH, OWNER_REFUSED, LOCKED = 0x08E, 0x0A2, 0x12F
"""TPM_RC_AUTH_FAIL (counted by the TPM), TPM_RC_BAD_AUTH (not counted), TPM_RC_AUTH_UNAVAILABLE."""
NV_UNINITIALIZED, NV_SPACE, NV_DEFINED = 0x14A, 0x14B, 0x14C
_SLOTS = frozenset({0x902, 0x903})
_PASSING = _SLOTS | frozenset({0x908, 0x922, NV_DEFINED})


@dataclass(frozen=True)
class _Meaning:
    """What some codes mean; without a `remedy` the error's own stands."""

    codes: frozenset[int]
    kind: type[DeviceError]
    text: str
    remedy: str | None = None


_MEANINGS = (
    _Meaning(
        frozenset({WRONG_AUTH, OWNER_REFUSED}),
        AuthorisationFailed,
        "refused: wrong authorisation value",
        "Give the value that the key or PIN was made with; where the TPM has an owner authorisation, set the option "
        "`owner_auth_file`.",
    ),
    _Meaning(
        frozenset({0x09D, 0x0A4, 0x126, 0x128}),
        AuthorisationFailed,
        "refused: the machine's measured state is not the one required",
        "Boot the software that was approved, or have the new state approved and enrol again.",
    ),
    _Meaning(frozenset({0x095, 0x09A, 0x09F, 0x0A5}), AuthorisationFailed, "refused: damaged or of another TPM"),
    _Meaning(
        frozenset({0x921, LOCKED}),
        AuthorisationFailed,
        "refused: locked after too many wrong authorisations",
        "Wait for the lockout to end, or reset it: tpm2_dictionarylockout --clear-lockout.",
    ),
    _Meaning(
        frozenset({0x904, 0x905, 0x906}) | _SLOTS,
        Busy,
        "failed: the TPM has no free slot",
        "Use /dev/tpmrm0, which shares the slots, and end other programs that use the TPM.",
    ),
    _Meaning(
        frozenset({NV_SPACE}),
        Busy,
        "failed: the TPM has no room for another NV index",
        "Look at `tpm2_getcap handles-nv-index`, and remove what nobody needs with tpm2_nvundefine.",
    ),
    _Meaning(
        frozenset({0x101, 0x153}),
        DeviceError,
        "failed: the TPM is in failure mode, or its self-test did not pass",
        "Switch the machine off and on; if `tpm2_selftest --fulltest` still fails then, the TPM must be replaced.",
    ),
    _Meaning(
        frozenset({0x100}),
        DeviceError,
        "failed: the TPM was reset and not started since",
        "Restart the machine, or the TPM emulator.",
    ),
    _Meaning(
        frozenset(range(0x910, 0x91F)),
        Disconnected,
        "failed: the TPM was reset meanwhile, or another program unloaded what was in use",
        "Open the TPM again; what was measured before a reset is to be measured anew.",
    ),
    _Meaning(
        frozenset({0x083, 0x0A6, 0x143}),
        Unsupported,
        "failed: the TPM knows no such command or algorithm",
        "Update the TPM's firmware: TPM 2.0 with ECC P-256 and SHA-256 is needed.",
    ),
    _Meaning(
        frozenset({0x085, 0x120}),
        Unsupported,
        "failed: a hierarchy of the TPM is switched off",
        "Enable the storage and endorsement hierarchies in the firmware set-up.",
    ),
    _Meaning(
        frozenset({0x908, 0x90A, 0x920, 0x922, 0x923, NV_DEFINED}),
        Busy,
        "failed: the TPM is busy",
        "Try again in a moment.",
    ),
)
_CHECK_THE_BUS = (
    "Try again; if it repeats, something between this machine and its TPM changes what is said: check how the TPM is "
    "seated and what is attached to it, and that `tcti` names a TPM."
)
_UNKNOWN = _Meaning(frozenset(), DeviceError, "failed", "Look the code up with tpm2_rc_decode.")


def tpm_code(rc: int) -> int | None:
    """The TPM's own code without parameter, handle or session number; `None` when another layer raised it."""
    if rc & _LAYER_MASK not in _TPM_LAYERS:
        return None
    code = rc & 0xFFFF
    return code & 0xBF if code & _FORMAT_ONE else code & 0xFFF


def is_parameter_error(rc: int) -> bool:
    """Whether the TPM refused one of the command's parameters (bit P of a format-one code)."""
    return rc & _LAYER_MASK in _TPM_LAYERS and rc & _FORMAT_ONE != 0 and rc & _PARAMETER != 0


def passes(rc: int) -> bool:
    """Whether the refusal passes when another program lets go: no free slot, yielded, retry, defined meanwhile."""
    return tpm_code(rc) in _PASSING


def foreign(what: str) -> AuthorisationFailed:
    """The refusal of a blob that this TPM did not make, or that was damaged."""
    return AuthorisationFailed(
        f"TPM: {what} refused: the data is damaged or of another TPM, or the TPM was cleared",
        remedy="If the TPM was cleared or replaced, join and enrol again; otherwise restore the node's files.",
    )


def translate(rc: int, what: str, *, opening: bool = False) -> DeviceError:
    """The error of our tree for response code `rc` of the operation `what`."""
    code = tpm_code(rc)
    if code is not None:
        return _of_tpm(code, what)
    if rc & _LAYER_MASK == _TCTI_LAYER:
        return _of_transport(rc & 0xFFFF, what, opening=opening)
    return ProtocolError(
        f"TPM: {what} failed in the software stack, the answer does not hold (0x{rc:x})", remedy=_CHECK_THE_BUS
    )


def _of_tpm(code: int, what: str) -> DeviceError:
    meaning = next((meaning for meaning in _MEANINGS if code in meaning.codes), _UNKNOWN)
    return meaning.kind(f"TPM: {what} {meaning.text} (0x{code:x})", remedy=meaning.remedy)


def _of_transport(code: int, what: str, *, opening: bool) -> DeviceError:
    if opening and code in _TCTI_ABSENT:
        return Unsupported(
            "the TPM interface's library is not installed",
            remedy="apt-get install libtss2-tcti-device0 libtss2-tcti-swtpm0 libtss2-tcti-mssim0",
        )
    if opening:
        return NotFound(f"no TPM answers: {what} failed", remedy="Start the TPM emulator, or correct `tcti`.")
    if code in _TCTI_GONE:
        return Disconnected(f"the TPM went away during {what}", remedy="Open the TPM again once it is back.")
    return ProtocolError(f"TPM: {what}: malformed answer (transport code {code})", remedy=_CHECK_THE_BUS)
