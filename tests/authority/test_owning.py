"""A node gives its TPM to the authority, and asks for each later command of the owner: agent and authority together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import pytest

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")

from tpm2_pytss import ESYS_TR

from agent.client import AuthorityClient
from agent.enclave import EnclaveGate
from agent.errors import AuthorityUnreachable
from agent.identity import IDENTITY_VERSION, Identity, StoredKey
from agent.owning import Owning
from authority import enrolling, owning, views
from authority.store import schema
from authority.trust import default_policy
from drivers.tpm2 import _ownership
from hal import AuthorisationFailed, Enclave, GuardedKey, OwnerAuth, OwnerCommand
from protocol.digests import enrol_digest
from protocol.levels import EnclaveKind, Ownership
from protocol.messages import (
    CertifiedGuard,
    CertifiedIndex,
    CertifiedPublic,
    EnrolFinish,
    EnrolSession,
    IndexRequest,
    Message,
    OwnerGrant,
    OwnershipAnswer,
    OwnershipReport,
    RemovalRequest,
)
from protocol.ownership import OwnerValues
from protocol.problems import ErrorCode
from simulators.devices.swtpm import Swtpm, SwtpmFactory
from tests.authority.nodes import AUTH, PIN, Machine, Site
from tests.drivers.software_tpm import on_tpm

T = TypeVar("T")
ELSEWHERE = OwnerAuth(b"\x01" * 32, b"\x0f" * 32)


@dataclass
class Wire:
    """The agent's client, ending at the authority's functions; it is cut when no reports are left."""

    site: Site
    node_id: str
    reports_left: int = 1000
    sent: list[Message] = field(default_factory=list)

    def ownership_nonce(self) -> bytes:
        return self.site.run(owning.issue_nonce, self.node_id).nonce

    def report_ownership(self, report: OwnershipReport) -> OwnershipAnswer:
        if self.reports_left == 0:
            raise AuthorityUnreachable("the wire is cut")
        self.reports_left -= 1
        answer, self.site.pushes = self.site.run(owning.report, self.node_id, report)
        self.sent.append(answer)
        return answer

    def grant_index(self, enrolment_id: str, request: IndexRequest) -> OwnerGrant:
        return self.site.run(owning.grant_index, self.node_id, enrolment_id, request)

    def grant_removal(self, record_id: str, request: RemovalRequest) -> OwnerGrant:
        return self.site.run(owning.grant_removal, self.node_id, record_id, request)


@dataclass
class OpenGate:
    """The gate to an enclave that stays open."""

    enclave: Enclave

    def run(self, work: Callable[[Enclave], T]) -> T:
        return work(self.enclave)


@pytest.fixture
def node(tpm_maker: SwtpmFactory, tmp_path: Path, site: Site) -> Iterator[Machine]:
    """A node with a TPM of its own that has just joined."""
    from drivers.tpm2 import Tpm2Driver

    with Swtpm(tpm_maker.fresh(tmp_path / "tpm")) as tpm, Tpm2Driver().open({"tcti": tpm.tcti}) as enclave:
        site.clock = float(int(time.time()) + 1)  # after the maker's certificate, which may be of this second
        machine = Machine("n1", enclave)
        machine.join(site)
        site.set_node(machine.node_id, ownership=Ownership.NONE.value)
        yield machine


def owner(site: Site, node: Machine, wire: Wire | None = None) -> Owning:
    assert node.delivery_key is not None
    identity = Identity(
        version=IDENTITY_VERSION,
        node_id=node.node_id,
        name=node.name,
        authority="",
        ca="",
        kos_public=b"",
        tls_file="",
        pcr_selection=[0],
        delivery_key=StoredKey.of(node.delivery_key),
        joined_at=0.0,
        enclave_kind=EnclaveKind.TPM2,
        identity_key=None,
    )
    client = cast(AuthorityClient, wire or Wire(site, node.node_id))
    return Owning(identity, client, cast(EnclaveGate, OpenGate(node.enclave)))


def values_of(site: Site, node: Machine) -> OwnerValues:
    return site.run(owning.release_values, node.node_id, "operator")


def cap_of(site: Site, node: Machine) -> int:
    """The score in thousandths that the node can reach."""
    row = site.node(node.node_id)
    view = site.read(lambda conn: views.node_view(conn, site.rt, row))
    return int(view["enclave_cap"])


def guarded(site: Site, node: Machine, session: EnrolSession, digest: bytes) -> GuardedKey:
    """What the agent does at an enrolment where the authority owns the TPM."""
    command = node.enclave.plan_guard(session.record_id, session.approval_key)
    grant = owner(site, node).permit_index(session.enrolment_id, command)
    return node.enclave.create_guarded_key(session.record_id, PIN, AUTH, 15, session.approval_key, digest, owner=grant)


def enrolled(site: Site, node: Machine) -> GuardedKey:
    """An approved profile whose key was made by a grant."""
    session = node.start_enrolment(site)
    assert session.granted
    digest = enrol_digest(session.enrolment_id, session.record_id, session.nonce)
    key = guarded(site, node, session, digest)
    floor = node.enclave.certify_counter("keyvigil-floor", digest)
    changes: dict[str, Any] = {
        "profile_key": CertifiedPublic(public=key.key.public, attest=key.key.attest, signature=key.key.signature),
        "guard": CertifiedGuard(
            public=key.index.public,
            attest=key.index.attest,
            signature=key.index.signature,
            change_key=key.change[:65],
        ),
        "floor": CertifiedIndex(public=floor.public, attest=floor.attest, signature=floor.signature),
    }
    finish = finished(node, session, changes)
    site.run(enrolling.finish_enrolment, node.node_id, session.enrolment_id, finish)
    site.run(enrolling.approve, session.record_id, "operator")
    return key


def finished(node: Machine, session: EnrolSession, changes: dict[str, Any]) -> EnrolFinish:
    """`Machine.enrolment` makes a guard of its own, which a TPM with an owner refuses."""
    node.key_of = lambda *_: changes  # type: ignore[method-assign]
    return node.enrolment(session)


def removal(key: GuardedKey, node: Machine) -> OwnerCommand:
    planned = node.enclave.plan_removal(key)
    assert planned is not None
    return OwnerCommand(planned.nonce, planned.index, change_key=key.change[:65])


def test_the_tpm_is_given_up_and_profile_keys_come_and_go_by_grants(site: Site, node: Machine) -> None:
    assert site.node(node.node_id).ownership == "none" and cap_of(site, node) == 800
    assert owner(site, node).settle() is Ownership.TAKEN
    assert owner(site, node).settle() is Ownership.TAKEN
    assert cap_of(site, node) == 1000
    assert [one.kind for one in site.audit("ownership")] == ["ownership", "ownership"]
    key = enrolled(site, node)
    assert len(node.enclave.guarded_sign(key, PIN, AUTH, bytes(32))) == 64
    with pytest.raises(Exception, match="out of use"):
        owner(site, node).permit_removal(key.label, removal(key, node))
    site.run(enrolling.erase_profile, key.label, "operator")
    grant = owner(site, node).permit_removal(key.label, removal(key, node))
    node.enclave.remove_guard(key, owner=grant)
    assert node.enclave.plan_removal(key) is None
    assert node.enclave.lockout().failures == 0


def test_the_values_go_out_once_and_lie_wrapped(site: Site, node: Machine, tmp_path: Path) -> None:
    wire = Wire(site, node.node_id)
    owner(site, node, wire).settle()
    owner(site, node, wire).settle()
    given = [answer for answer in wire.sent if isinstance(answer, OwnershipAnswer) and answer.sealed]
    assert len(wire.sent) == 3 and len(given) == 1
    values = values_of(site, node)
    node.enclave.take_ownership(OwnerAuth(values.owner, values.lockout))
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("authority.db*"))
    texts = repr((values, given, wire.sent)).encode() + "".join(one.data for one in site.audit("ownership")).encode()
    for value in (values.owner, values.lockout):
        assert value not in stored and value.hex().encode() not in stored + texts and value not in given[0].sealed
    assert [one.actor for one in site.audit("tpm-auth-released")] == ["operator"]
    assert "tpm-auth-released" in site.alerts()


def test_a_node_that_was_cut_off_after_taking_ownership_goes_on(site: Site, node: Machine) -> None:
    with pytest.raises(AuthorityUnreachable):
        owner(site, node, Wire(site, node.node_id, reports_left=1)).settle()
    assert site.node(node.node_id).ownership == "drawn"
    drawn = values_of(site, node)
    assert owner(site, node).settle() is Ownership.TAKEN
    assert values_of(site, node) == drawn
    assert enrolled(site, node)


@pytest.mark.parametrize("step", ["lockout", "policy", "before"])
def test_a_node_that_was_killed_in_the_middle_goes_on(
    site: Site, node: Machine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The power goes: before anything is set, after the lockout's value, and before the owner's."""
    real = _ownership._change

    def last(tpm: Any, hierarchy: Any, *given: Any) -> None:
        if step == "before" or hierarchy == ESYS_TR.OWNER:
            raise AuthorisationFailed("the power went")
        real(tpm, hierarchy, *given)
        if step == "lockout":
            raise AuthorisationFailed("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(_ownership, "_change", last)
        with pytest.raises(AuthorisationFailed, match="power"):
            owner(site, node).settle()
    drawn = values_of(site, node)
    assert owner(site, node).settle() is Ownership.TAKEN
    assert values_of(site, node) == drawn
    node.enclave.take_ownership(OwnerAuth(drawn.owner, drawn.lockout))
    assert enrolled(site, node)


def test_a_tpm_of_somebody_else_s_is_capped_or_refused(site: Site, node: Machine) -> None:
    node.enclave.take_ownership(ELSEWHERE)
    assert owner(site, node).settle() is Ownership.FOREIGN
    assert "tpm-owner-foreign" in site.alerts()
    assert cap_of(site, node) == 800
    assert not node.start_enrolment(site).granted
    policy = default_policy()
    enclaves = msgspec.structs.replace(policy.enclaves, unowned="refused")
    site.policy = msgspec.structs.replace(policy, enclaves=enclaves)
    ticket = site.run(enrolling.create_ticket, "ada", node.node_id, 600)
    start = enrolling.EnrolStart(admin="ada", ticket=ticket[0], pin=ticket[1])
    refused = site.refuses(enrolling.start_enrolment, node.node_id, start)
    assert refused.code is ErrorCode.CONFLICT and "--rejoin" in refused.remedy
    assert site.refuses(owning.release_values, node.node_id, "operator").code is ErrorCode.NOT_FOUND


def test_a_tpm_that_lost_its_owner_is_taken_anew_only_by_joining_again(site: Site, node: Machine) -> None:
    owner(site, node).settle()
    before = values_of(site, node)

    def clear(context: Any) -> None:
        context.esys.tr_set_auth(ESYS_TR.LOCKOUT, before.lockout)
        context.esys.clear(ESYS_TR.LOCKOUT)
        context.esys.tr_set_auth(ESYS_TR.LOCKOUT, b"")
        context._root = b""

    on_tpm(node.enclave, clear)
    wire = Wire(site, node.node_id)
    assert owner(site, node, wire).settle() is Ownership.LOST
    assert owner(site, node, wire).settle() is Ownership.LOST
    assert not any(answer.sealed for answer in wire.sent if isinstance(answer, OwnershipAnswer))
    assert "tpm-owner-lost" in site.alerts()
    assert cap_of(site, node) == 800
    site.set_node(node.node_id, ownership=Ownership.LOST.value)
    request = node.request(site.token(node.name))
    challenge = site.start_join(request)
    node.adopt(site.finish_join(challenge.join_id, node.prove(challenge, request.csr)))
    assert site.node(node.node_id).ownership == "none"
    assert owner(site, node).settle() is Ownership.TAKEN
    assert values_of(site, node) != before
    assert enrolled(site, node)


def test_a_report_must_be_the_tpm_s_own_and_fresh(site: Site, node: Machine) -> None:
    wire = Wire(site, node.node_id)
    genuine = owner(site, node)._report(node.enclave, wire.ownership_nonce())
    assert genuine is not None
    owned = msgspec.structs.replace(genuine, permanent=genuine.permanent | 0b101)
    refused = site.refuses(owning.report, node.node_id, owned)
    assert refused.code is ErrorCode.ATTESTATION_REJECTED
    assert site.node(node.node_id).ownership == "none"
    genuine = owner(site, node)._report(node.enclave, wire.ownership_nonce())
    site.run(owning.report, node.node_id, genuine)
    assert site.refuses(owning.report, node.node_id, genuine).code is ErrorCode.NONCE_EXPIRED


def test_a_grant_is_for_the_index_of_an_open_enrolment_of_this_node(site: Site, node: Machine) -> None:
    owner(site, node).settle()
    session = node.start_enrolment(site)
    command = node.enclave.plan_guard("another-label", session.approval_key)
    request = IndexRequest(
        nonce=command.nonce, public=command.index, initial=command.initial, change_key=command.change_key
    )
    assert site.refuses(owning.grant_index, node.node_id, session.enrolment_id, request).code is ErrorCode.FORBIDDEN
    assert len(site.audit("grant-refused")) == 1
    assert site.refuses(owning.grant_index, node.node_id, "elsewhere", request).code is ErrorCode.NOT_FOUND
    site.clock += 3600
    planned = node.enclave.plan_guard(session.record_id, session.approval_key)
    late = IndexRequest(
        nonce=planned.nonce, public=planned.index, initial=planned.initial, change_key=planned.change_key
    )
    assert site.refuses(owning.grant_index, node.node_id, session.enrolment_id, late).code is ErrorCode.NOT_FOUND


def test_nothing_is_kept_that_others_could_read(site: Site, node: Machine) -> None:
    """The row holds ciphertext; another key-encryption key does not open it."""
    from authority.keys import FileKek

    owner(site, node).settle()
    row = site.read(lambda conn: conn.execute(schema.tpm_owner.select()).one())
    assert len(row.wrapped) > 64
    site.kek = FileKek(os.urandom(32))
    assert site.refuses(owning.release_values, node.node_id, "operator").code is ErrorCode.UNAVAILABLE
