"""Sinks against real sockets and files."""

from __future__ import annotations

import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from authority.alerts import FileSink, SinkError
from authority.alerts.sinks import TcpSink, UdpSink, UnixSink

RECORD = "<82>1 - h a 1 k - \ufeffgrüß".encode()


def test_the_file_has_one_record_a_line_for_its_owner_alone(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "alerts.log")
    sink.send(RECORD)
    sink.send(RECORD)
    assert (tmp_path / "alerts.log").read_bytes() == RECORD + b"\n" + RECORD + b"\n"
    assert stat.S_IMODE((tmp_path / "alerts.log").stat().st_mode) == 0o600


def test_the_file_may_be_rotated_away(tmp_path: Path) -> None:
    file, sink = tmp_path / "alerts.log", FileSink(tmp_path / "alerts.log")
    sink.send(b"one")
    file.rename(tmp_path / "alerts.log.1")
    sink.send(b"two")
    assert file.read_bytes() == b"two\n"


def test_a_link_in_the_file_s_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "alerts.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SinkError):
        FileSink(tmp_path / "alerts.log").send(RECORD)
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_folder_is_an_error_for_later(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "later" / "alerts.log")
    with pytest.raises(SinkError, match="No such file"):
        sink.send(RECORD)
    (tmp_path / "later").mkdir()
    sink.send(RECORD)


@contextmanager
def limited_file_size(octets: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_record_that_does_not_fit_leaves_no_half_of_it(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "alerts.log")
    sink.send(b"a" * 50)
    with limited_file_size(80), pytest.raises(SinkError):
        sink.send(b"b" * 50)
    assert (tmp_path / "alerts.log").read_bytes() == b"a" * 50 + b"\n"
    sink.send(b"b" * 50)
    assert (tmp_path / "alerts.log").read_bytes().splitlines() == [b"a" * 50, b"b" * 50]


def test_a_full_disk_is_an_error_for_later() -> None:
    with pytest.raises(SinkError, match="No space left"):
        FileSink(Path("/dev/full")).send(RECORD)


def test_a_unix_datagram_socket_gets_bare_records(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        sink = UnixSink(str(tmp_path / "log"))
        sink.send(RECORD)
        assert server.recv(9000) == RECORD
        sink.close()


def test_a_unix_stream_socket_gets_lines(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "log"))
        server.listen()
        sink = UnixSink(str(tmp_path / "log"))
        sink.send(RECORD)
        connection, _ = server.accept()
        with connection:
            assert connection.recv(9000) == RECORD + b"\n"
        sink.close()


def test_a_daemon_that_restarts_gets_the_next_record(tmp_path: Path) -> None:
    path, sink = tmp_path / "log", UnixSink(str(tmp_path / "log"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        sink.send(b"one")
    with pytest.raises(SinkError):
        sink.send(b"two")
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        sink.send(b"two")
        assert server.recv(9000) == b"two"
    sink.close()


def test_udp_sends_one_datagram_per_record() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        UdpSink("127.0.0.1", server.getsockname()[1]).send(RECORD)
        assert server.recv(9000) == RECORD


def test_tcp_counts_octets_and_keeps_its_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = TcpSink("127.0.0.1", server.getsockname()[1])
        sink.send(RECORD)
        sink.send(b"two")
        connection, _ = server.accept()
        sink.close()
        with connection, connection.makefile("rb") as stream:
            assert stream.read() == f"{len(RECORD)} ".encode() + RECORD + b"3 two"


def test_tcp_connects_anew_after_the_receiver_hung_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = TcpSink("127.0.0.1", server.getsockname()[1])
        sink.send(b"one")
        first, _ = server.accept()
        first.recv(100)
        first.close()
        sink.send(b"two")
        second, _ = server.accept()
        with second:
            assert second.recv(100) == b"3 two"
        sink.close()


def test_nobody_listening_is_an_error_for_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SinkError, match=f"tcp:127.0.0.1:{port}"):
        TcpSink("127.0.0.1", port).send(RECORD)
