from __future__ import annotations

import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.client import LARGEST_ANSWER, AuthorityClient
from agent.errors import AuthorityRefused, AuthorityUnreachable
from agent.identity import pinned_context, unverified_context
from protocol.codec import ProtocolViolation
from protocol.messages import Nonce
from protocol.problems import ErrorCode
from tests.agent.scripted_authority import Raw, Refusal, ScriptedAuthority, TestCa, served


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[ScriptedAuthority]:
    with served(tmp_path) as found:
        yield found


@pytest.fixture
def client(authority: ScriptedAuthority) -> Iterator[AuthorityClient]:
    with AuthorityClient(authority.url, pinned_context(authority.ca.pem), 5.0) as found:
        yield found


def test_an_answer_is_decoded(authority: ScriptedAuthority, client: AuthorityClient) -> None:
    nonce = Nonce(nonce=b"n" * 32, pcr_selection=[0], expires_at=5.0)
    authority.on("POST", "/v1/nonces", lambda _: nonce)
    assert client.nonce("ab") == nonce
    assert authority.seen("/v1/nonces") == [b'{"node_id":"ab"}']


def test_a_refusal_keeps_its_code_and_remedy_and_loses_control_characters(
    authority: ScriptedAuthority, client: AuthorityClient
) -> None:
    def refuse(_: bytes) -> object:
        raise Refusal(403, ErrorCode.TICKET_INVALID, "no \x1b[31msuch ticket", "Ask for one.")

    authority.on("POST", "/v1/nonces", refuse)
    with pytest.raises(AuthorityRefused, match=r"no \ufffd\[31msuch ticket") as refusal:
        client.nonce("ab")
    assert refusal.value.problem.code is ErrorCode.TICKET_INVALID
    assert refusal.value.remedy == "Ask for one."
    assert not refusal.value.temporary


def test_unavailable_is_temporary(authority: ScriptedAuthority, client: AuthorityClient) -> None:
    def refuse(_: bytes) -> object:
        raise Refusal(503, ErrorCode.UNAVAILABLE)

    authority.on("POST", "/v1/nonces", refuse)
    with pytest.raises(AuthorityRefused) as refusal:
        client.nonce("ab")
    assert refusal.value.temporary


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[]", b'{"nonce":1}', b"{" * 20_000])
def test_garbage_instead_of_an_answer(authority: ScriptedAuthority, client: AuthorityClient, body: bytes) -> None:
    authority.on("POST", "/v1/nonces", lambda _: Raw(200, body))
    with pytest.raises(ProtocolViolation):
        client.nonce("ab")


@pytest.mark.parametrize("status", [301, 400, 404, 500])
def test_garbage_instead_of_a_problem(authority: ScriptedAuthority, client: AuthorityClient, status: int) -> None:
    authority.on("POST", "/v1/nonces", lambda _: Raw(status, b"<html>\x1b[31m"))
    with pytest.raises(AuthorityRefused, match=str(status)):
        client.nonce("ab")


def test_an_endless_answer_is_cut_off(authority: ScriptedAuthority, client: AuthorityClient) -> None:
    authority.on("POST", "/v1/nonces", lambda _: Raw(200, bytes(LARGEST_ANSWER + 1)))
    with pytest.raises(ProtocolViolation, match="larger"):
        client.nonce("ab")


def test_identifiers_of_the_authority_cannot_leave_their_path(client: AuthorityClient) -> None:
    for crooked in ("../nonces", "a/b", "a?b", "", "a%2f"):
        with pytest.raises(ProtocolViolation):
            client.begin(crooked, "record")


def test_another_ca_is_refused_with_a_remedy(authority: ScriptedAuthority) -> None:
    stranger = pinned_context(TestCa().pem)
    with AuthorityClient(authority.url, stranger, 5.0) as client, pytest.raises(AuthorityUnreachable) as failure:
        client.nonce("ab")
    assert "not the authority that the node joined" in failure.value.remedy
    assert not failure.value.sent
    assert authority.requests == []


def test_the_unverified_context_would_have_sent_it(authority: ScriptedAuthority) -> None:
    """Negative control: without the pin the same server is spoken to."""
    with AuthorityClient(authority.url, unverified_context(), 5.0) as client:
        assert client.ca() == authority.ca.pem


def test_tls_1_2_is_not_spoken(authority: ScriptedAuthority) -> None:
    assert pinned_context(authority.ca.pem).minimum_version is ssl.TLSVersion.TLSv1_3


def test_nobody_listening_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"https://127.0.0.1:{port}"
    with AuthorityClient(url, unverified_context(), 5.0) as client, pytest.raises(AuthorityUnreachable) as failure:
        client.ca()
    assert "did not answer" in str(failure.value)
    assert failure.value.remedy
    assert not failure.value.sent


def test_somebody_who_never_answers_is_given_up_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with AuthorityClient(url, unverified_context(), 0.2) as client, pytest.raises(AuthorityUnreachable):
            client.ca()


@contextmanager
def speaking(folder: Path, ca: TestCa, speak: Callable[[ssl.SSLSocket], None]) -> Iterator[str]:
    """A TLS server that says to each connection what `speak` says; its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.server(folder))

    def serve() -> None:
        with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as connection:
            asked = b""
            while not asked.endswith(b"}"):
                asked += connection.recv(65536)
            speak(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def test_an_answer_that_trickles_in_byte_by_byte_is_given_up_on(tmp_path: Path) -> None:
    """Each byte starts the read timeout anew: without a limit for the whole answer a thread would wait for ever."""
    ca, enough = TestCa(), threading.Event()

    def speak(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        try:
            while not enough.wait(0.05):
                connection.sendall(b" ")
        except OSError:
            enough.set()

    with speaking(tmp_path, ca, speak) as url, AuthorityClient(url, pinned_context(ca.pem), 0.5) as client:
        with pytest.raises(AuthorityUnreachable, match="longer than") as failure:
            client.nonce("ab")
        enough.set()
    assert failure.value.sent


def test_a_compressed_answer_is_not_unpacked(tmp_path: Path) -> None:
    ca = TestCa()
    body = gzip.compress(b'{"nonce":"AAAA","pcr_selection":[0],"expires_at":1}')

    def speak(connection: ssl.SSLSocket) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)

    with (
        speaking(tmp_path, ca, speak) as url,
        AuthorityClient(url, pinned_context(ca.pem), 5.0) as client,
        pytest.raises(ProtocolViolation),
    ):
        client.nonce("ab")


def test_a_redirection_is_not_followed(tmp_path: Path) -> None:
    ca = TestCa()

    def speak(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 307 Go\r\nlocation: /v1/elsewhere\r\ncontent-length: 0\r\n\r\n")

    with (
        speaking(tmp_path, ca, speak) as url,
        AuthorityClient(url, pinned_context(ca.pem), 5.0) as client,
        pytest.raises(AuthorityRefused, match="307"),
    ):
        client.nonce("ab")


def test_a_certificate_of_the_right_ca_for_another_host_is_refused(authority: ScriptedAuthority) -> None:
    elsewhere = authority.url.replace("127.0.0.1", "localhost")
    client = AuthorityClient(elsewhere, pinned_context(authority.ca.pem), 5.0)
    with client, pytest.raises(AuthorityUnreachable, match=r"(?i)hostname|certificate"):
        client.nonce("ab")
    assert authority.requests == []
