"""CVE-2026-3605 (OpenBao): an identifier with dots and slashes in it reached what lies beside its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.profile import ProfileFiles, _files
from protocol.codec import ProtocolViolation
from tests.security.broken import NOTICED, replaced

WANDERING = ("../identity", "..", "a/../../identity", "/etc/passwd", "a/b", "a\0b", "", ".", "A", "a.b", "a\n", "ä")


def check_no_identifier_leaves_its_folder(folder: Path) -> None:
    """Nothing outside is read, written or removed by a record id that the authority or a file's name brought."""
    beside, files = folder / "identity.counter", ProfileFiles(folder / "profiles")
    files.folder.mkdir(exist_ok=True)
    beside.write_bytes(b"7")
    for record_id in WANDERING:
        for reach in (files.counter, files.shares, files.newest, files.discard, lambda name: files.record(name, 1)):
            with pytest.raises((AgentError, ProtocolViolation)):
                reach(record_id)
    assert beside.read_bytes() == b"7"


def test_no_identifier_leaves_its_folder(tmp_path: Path) -> None:
    check_no_identifier_leaves_its_folder(tmp_path)


def test_files_by_any_identifier_are_noticed(tmp_path: Path) -> None:
    with replaced(_files, "checked", lambda record_id: record_id), pytest.raises((*NOTICED, OSError, ValueError)):
        check_no_identifier_leaves_its_folder(tmp_path)
