"""What a stolen database does not hold in clear."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from sqlalchemy import select

from authority import challenges, enrolling, operators
from authority.keys import add_member, create_network, rotate_versions
from authority.keys.versions import open_secret
from authority.roles import Scope
from authority.store import schema
from protocol.levels import ResourceClass
from protocol.messages import BeginRequest, EnrolStart
from protocol.tokens import parse_join_token, parse_ticket
from tests.authority.nodes import Machine, Site
from tests.databases import ON_POSTGRESQL


def onboard(site: Site, node: Machine) -> dict[str, bytes | str]:
    """The whole way of a node; gives every secret that was handed out on it."""
    join_token = site.token(node.name)
    request = node.request(join_token)
    attempt = site.start_join(request)
    proof = node.prove(attempt, request.csr)
    unfinished = site.start_join(request)
    node.adopt(site.finish_join(attempt.join_id, proof))
    unused = site.token("n9")
    ticket, pin = site.run(enrolling.create_ticket, "ada", node.node_id, 600)
    session = site.run(enrolling.start_enrolment, node.node_id, EnrolStart(admin="ada", ticket=ticket, pin=pin))
    site.run(enrolling.finish_enrolment, node.node_id, session.enrolment_id, node.enrolment(session))
    site.run(enrolling.approve, session.record_id, "operator")
    begin = BeginRequest(record_id=session.record_id)
    activation = site.run(challenges.begin, node.node_id, site.summon(node.node_id), begin)
    site.clock += 5
    node.submit(site, activation.challenge_id, node.evidence(node.claims(activation)))
    operator = site.read(lambda conn: operators.create_operator_token(conn, site.rt, "op", [Scope.ADMIN], 600))
    site.run(create_network, "office")
    site.run(add_member, "office", node.node_id, "10.0.0.1", ResourceClass.NORMAL)
    version = site.read(lambda conn: open_secret(conn, site.rt, "office", 3))
    outdated = site.read(lambda conn: open_secret(conn, site.rt, "office", 1))
    site.run(rotate_versions, "office", "operator")
    return {
        "join token": parse_join_token(join_token).secret,
        "unused join token": parse_join_token(unused).secret,
        "activated secret": proof.secret,
        "secret of an unfinished attempt": node.enclave.activate(
            unfinished.credential_blob, unfinished.encrypted_secret
        ),
        "ticket": parse_ticket(ticket).secret,
        "PIN": pin,
        "release share": node.first_share(session),
        "operator token": operator,
        "version secret": version,
        "destroyed version secret": outdated,
    }


def forms(secret: bytes | str) -> list[bytes]:
    """A secret as it is, in hexadecimal, and in both kinds of base64."""
    raw = secret.encode() if isinstance(secret, str) else secret
    if isinstance(secret, str):
        return [raw]
    return [raw, raw.hex().encode(), raw.hex().upper().encode()] + [
        encode(raw).rstrip(b"=")[:-1] for encode in (base64.b64encode, base64.urlsafe_b64encode)
    ]


def kept(site: Site, folder: Path) -> bytes:
    """All that the database holds: its files, or every row where a server has the files."""
    if not ON_POSTGRESQL:
        return b"".join(file.read_bytes() for file in folder.glob("authority.db*"))
    every = [f'SELECT "{table.name}"::text FROM "{table.name}"' for table in schema.metadata.sorted_tables]
    rows = site.read(lambda conn: [row for one in every for row in conn.exec_driver_sql(one).scalars()])
    return "\n".join(rows).encode()


@pytest.fixture
def content(site: Site, machine: Machine, tmp_path: Path) -> tuple[bytes, dict[str, bytes | str]]:
    secrets = onboard(site, machine)
    return kept(site, tmp_path), secrets


def test_no_secret_lies_in_the_database(content: tuple[bytes, dict[str, bytes | str]]):
    stored, secrets = content
    assert [name for name, secret in secrets.items() if any(form in stored for form in forms(secret))] == []
    assert len(secrets) == 10 and all(secrets.values())


def test_the_search_finds_what_is_public(content: tuple[bytes, dict[str, bytes | str]], site: Site, machine: Machine):
    stored, _ = content
    node = site.node(machine.node_id)
    public = [node.ak_public, node.certificate_sha256, node.id, "ada", site.profile(machine.record_id).public]
    assert all(any(form in stored for form in forms(value)) for value in public)
    row = schema.challenge
    nonce = site.read(lambda conn: conn.execute(select(row.c.nonce).where(row.c.nonce.is_not(None))).scalar())
    assert any(form in stored for form in forms(nonce))


def test_a_join_token_s_text_is_found_where_it_is_kept(site: Site, machine: Machine, tmp_path: Path):
    """The negative control: a store that kept the request whole would be found out."""
    token = site.token()
    site.read(lambda conn: conn.execute(schema.meta.insert().values(key="leak", value=token)))
    stored = kept(site, tmp_path)
    assert any(form in stored for form in forms(parse_join_token(token).secret))
