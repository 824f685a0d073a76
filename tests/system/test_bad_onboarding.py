"""Wrong tokens, tickets and PINs, and a second TPM under a known name."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from agent.errors import AuthorityRefused
from authority import joining
from protocol.codec import b64url
from protocol.messages import EnrolStart
from protocol.problems import ErrorCode
from protocol.tokens import JoinToken, parse_join_token
from simulators.lab.insider import Insider
from simulators.lab.site import bare_config
from tests.system.harness import Refusal, Site, name_for, refused, secret_file

pytestmark = pytest.mark.system

Insiders = Callable[[Site, str], Insider]


@pytest.fixture
def stranger(site: Site, insider: Insiders, request: pytest.FixtureRequest) -> Insider:
    """A machine with a TPM of its own that has not joined."""
    return insider(site, name_for(request.node.name))


def join(machine: Insider, token: str, *, name: str | None = None) -> Refusal:
    """What `keyvigil join` says to a token that must not be accepted."""
    config = machine.config
    if name is not None:
        config = bare_config(machine.folder, name, machine.site.url, machine.tpm.tcti)
    file = secret_file(machine.folder / "token", token)
    said = refused("keyvigil", "join", "--config", str(config), "--token-file", str(file), "--json")
    assert token not in said.output
    assert not (machine.folder / "state" / "identity.json").exists()
    return said


def test_a_token_that_nobody_made_is_refused(site: Site, stranger: Insider) -> None:
    mark, before = site.since(), site.names()
    genuine = parse_join_token(site.token(stranger.name))
    said = join(stranger, JoinToken(os.urandom(32), genuine.ca_sha256).format())
    assert "join token is not valid" in said.error
    assert "node token" in said.remedy
    assert mark.audited("join-refused", name=stranger.name, cause="unknown token")["actor"] == "anonymous"
    assert site.names() == before


def test_a_token_is_good_once(site: Site, stranger: Insider) -> None:
    mark = site.since()
    used = (site.world.nodes[0].folder / "join.token").read_text().strip()
    assert "join token is not valid" in join(stranger, used, name="node-a").error
    mark.audited("join-refused", name="node-a", cause="token used before")
    assert site.node("node-a")["state"] == "active"


def test_a_token_expires(site: Site, stranger: Insider) -> None:
    mark = site.since()
    store, rt = site.library()
    ca_sha256 = parse_join_token(site.token("other")).ca_sha256

    make = partial(joining.create_join_token, lab=True, ttl=0, ca_sha256=ca_sha256, now=rt.now())
    token = store.run(lambda conn: make(conn, rt, stranger.name))
    store.close()
    assert "join token is not valid" in join(stranger, token).error
    mark.audited("join-refused", name=stranger.name, cause="token expired")


def test_a_token_is_good_for_its_own_name(site: Site, stranger: Insider) -> None:
    mark = site.since()
    join(stranger, site.token("somebody-else"))
    mark.audited("join-refused", name=stranger.name, cause="token of another name")


def test_a_token_that_is_none_is_refused_without_asking_the_authority(site: Site, stranger: Insider) -> None:
    said = join(stranger, "kvj1.this-is-no-token")
    assert said.status == 2
    assert "not a join token" in said.error


def test_a_node_does_not_join_an_authority_that_its_token_does_not_name(site: Site, stranger: Insider) -> None:
    said = join(stranger, JoinToken(os.urandom(32), "ab" * 32).format())
    assert "not the one that the token names" in said.error


def test_simulated_hardware_needs_a_token_for_the_lab(site: Site, stranger: Insider) -> None:
    mark = site.since()
    said = join(stranger, site.token(stranger.name, lab=False))
    assert "simulated hardware" in said.error
    mark.audited("join-refused", name=stranger.name)


def test_another_tpm_never_takes_a_known_name(site: Site, stranger: Insider) -> None:
    mark, before = site.since(), site.node("node-a")
    said = join(stranger, site.token("node-a"), name="node-a")
    assert "belongs to another TPM" in said.error
    mark.audited("re-registration-refused", name="node-a")
    assert mark.alerted("re-registration-refused", "node-a")["severity"] == "warning"
    after = site.node("node-a")
    kept = ("id", "state", "score", "certificate_not_after")
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert site.connections() == 1


def test_the_right_token_is_accepted(site: Site, stranger: Insider) -> None:
    """The control: what the tests above refuse is refused for the token, not for the machine."""
    stranger.join()
    assert site.node(stranger.name)["state"] == "pending"


def enrol(machine: Insider, ticket: str, pin: str) -> Refusal:
    """What `keyvigil enroll` says to a ticket or PIN that must not be accepted."""
    files = [secret_file(machine.folder / name, text) for name, text in (("ticket", ticket), ("pin", pin))]
    secrets = ["--ticket-file", str(files[0]), "--pin-file", str(files[1]), "--accept-consent"]
    config = ["--config", str(machine.config), "--admin", machine.admin, "--json"]
    said = refused("keyvigil", "enroll", *config, *secrets)
    assert ticket not in said.output
    assert pin not in said.output
    assert machine.standing()["profiles"] == []
    return said


def wrong(pin: str) -> str:
    return f"{(int(pin) + 1) % 10**8:08d}"


def test_five_wrong_pins_end_a_ticket(site: Site, stranger: Insider) -> None:
    stranger.join()
    ticket, pin = site.ticket(stranger.admin, stranger.name)
    mark = site.since()
    said = enrol(stranger, ticket, wrong(pin))
    assert "ticket or its PIN" in said.error
    mark.audited("enrolment-refused", admin=stranger.admin, cause="wrong PIN")
    for _ in range(4):
        with pytest.raises(AuthorityRefused) as caught:
            stranger.client.start_enrolment(EnrolStart(admin=stranger.admin, ticket=ticket, pin=wrong(pin)))
        assert caught.value.problem.code is ErrorCode.TICKET_INVALID
    assert mark.alerted("ticket-dead", stranger.name)
    assert "too many wrong PINs" in enrol(stranger, ticket, pin).error
    assert len(mark.audits("enrolment-refused", cause="wrong PIN")) == 5
    mark.audited("enrolment-refused", cause="too many wrong PINs")


def test_a_ticket_that_nobody_made_is_refused(site: Site, stranger: Insider) -> None:
    stranger.join()
    ticket, pin = site.ticket(stranger.admin, stranger.name)
    mark = site.since()
    forged = ticket.rpartition(".")[0] + "." + b64url(os.urandom(32))
    assert "ticket or its PIN" in enrol(stranger, forged, pin).error
    mark.audited("enrolment-refused", admin=stranger.admin, cause="unknown ticket")


def test_a_ticket_is_good_for_its_own_node(site: Site, stranger: Insider) -> None:
    stranger.join()
    ticket, pin = site.ticket(stranger.admin, "node-a")
    mark = site.since()
    enrol(stranger, ticket, pin)
    mark.audited("enrolment-refused", cause="ticket of another node or administrator")


def test_a_missing_secret_file_is_named(site: Site, folder: Path) -> None:
    config = site.world.nodes[0].config
    said = refused("keyvigil", "join", "--config", str(config), "--token-file", str(folder / "absent"), "--rejoin")
    assert said.status == 2
    assert str(folder / "absent") in said.error
