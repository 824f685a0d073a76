"""CVE-2023-3674: a quote whose signature did not hold was logged and counted as good."""

from __future__ import annotations

import msgspec
import pytest

from authority import appraisal
from protocol.messages import Outcome
from tests.authority.challenges.answers import activated
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, passes, replaced

EVERY = 16
"""Step between mutated bytes here; the exhaustive walk is beside the verifier's own tests."""


def check_a_changed_quote_is_rejected(site: Site, node: Machine) -> None:
    quote = node.quote(bytes(32))
    for part in ("attest", "signature"):
        for place in range(0, len(getattr(quote, part)), EVERY):
            site.read(lambda conn: conn.exec_driver_sql("UPDATE profile SET failures_in_row=0, locked_until=NULL"))
            activation = activated(site, node)
            evidence = node.evidence(node.claims(activation))
            data = bytearray(getattr(evidence.quote, part))
            data[place % len(data)] ^= 1
            changed = msgspec.structs.replace(evidence.quote, **{part: bytes(data)})
            forged = msgspec.structs.replace(evidence, quote=changed)
            assert node.submit(site, activation.challenge_id, forged).outcome is Outcome.REJECTED


def test_a_changed_quote_is_rejected(site: Site, enrolled: Machine) -> None:
    check_a_changed_quote_is_rejected(site, enrolled)


def test_a_verifier_that_does_not_use_its_verdict_is_noticed(site: Site, enrolled: Machine) -> None:
    with replaced(appraisal, "check_quote", passes), pytest.raises(NOTICED):
        check_a_changed_quote_is_rejected(site, enrolled)
