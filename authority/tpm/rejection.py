"""Why something that a TPM is said to have made is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from authority.tpm._reader import TpmFormatError


class Reason(StrEnum):
    """Stable names of the refusals, for audit lines and programs."""

    MALFORMED = "malformed"
    WRONG_TYPE = "wrong-type"
    UNFIT_SIGNER = "unfit-signer"
    FOREIGN_SIGNER = "foreign-signer"
    WEAK_HASH = "weak-hash"
    BAD_SIGNATURE = "bad-signature"
    WRONG_QUALIFYING_DATA = "wrong-qualifying-data"
    WRONG_SELECTION = "wrong-selection"
    WRONG_PCR_DIGEST = "wrong-pcr-digest"
    WRONG_EVENT_LOG = "wrong-event-log"
    MISSING = "missing"
    OTHER_OBJECT = "other-object"
    UNFIT_OBJECT = "unfit-object"
    NO_CERTIFICATE = "no-certificate"
    OTHER_KEY = "other-key"
    NOT_AN_ENDORSEMENT = "not-an-endorsement"
    NOT_VALID_NOW = "not-valid-now"
    UNKNOWN_ROOT = "unknown-root"


class TpmRejected(Exception):
    """Evidence of a TPM that does not hold; `reason` for programs, the text for people. Neither holds a secret."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class QuoteRejected(TpmRejected):
    """A quote that does not hold."""


class CertificationRejected(TpmRejected):
    """A certification of a key that does not hold."""


class EndorsementRejected(TpmRejected):
    """An endorsement key or certificate that is not accepted."""


@contextmanager
def rejecting(kind: type[TpmRejected]) -> Iterator[None]:
    """Malformed structures, and refusals of the shared checks, become refusals of this `kind`."""
    try:
        yield
    except TpmFormatError as error:
        raise kind(Reason.MALFORMED, str(error)) from error
    except TpmRejected as error:
        raise kind(error.reason, error.detail) from error
