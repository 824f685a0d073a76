"""Key-encryption keys: binding to context and key, and the file they lie in."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from authority.keys import FileKek, KekError
from authority.keys.kek import version_context

CONTEXT = version_context("core", 3)
SECRET = bytes(range(32))


def test_what_is_wrapped_opens_again() -> None:
    kek = FileKek(b"k" * 32)
    assert kek.unwrap(kek.wrap(SECRET, CONTEXT), CONTEXT) == SECRET


def test_the_same_secret_is_never_wrapped_alike() -> None:
    kek = FileKek(b"k" * 32)
    assert kek.wrap(SECRET, CONTEXT) != kek.wrap(SECRET, CONTEXT)


@pytest.mark.parametrize("other", [version_context("core", 4), version_context("edge", 3), b""])
def test_a_secret_does_not_open_in_another_place(other: bytes) -> None:
    kek = FileKek(b"k" * 32)
    with pytest.raises(KekError, match="does not open"):
        kek.unwrap(kek.wrap(SECRET, CONTEXT), other)


def test_a_secret_does_not_open_with_another_key_or_changed() -> None:
    kek = FileKek(b"k" * 32)
    wrapped = kek.wrap(SECRET, CONTEXT)
    with pytest.raises(KekError):
        FileKek(b"j" * 32).unwrap(wrapped, CONTEXT)
    for damaged in (wrapped[:-1] + bytes([wrapped[-1] ^ 1]), wrapped[:10], b""):
        with pytest.raises(KekError):
            kek.unwrap(damaged, CONTEXT)


def test_the_file_is_made_for_its_owner_alone_and_opens_again(tmp_path: Path) -> None:
    file = tmp_path / "kek"
    made = FileKek.create(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    opened = FileKek.open(file)
    assert opened.kek_id == made.kek_id
    assert opened.unwrap(made.wrap(SECRET, CONTEXT), CONTEXT) == SECRET


def test_a_file_open_to_others_is_refused_with_a_remedy(tmp_path: Path) -> None:
    FileKek.create(tmp_path / "kek")
    (tmp_path / "kek").chmod(0o640)
    with pytest.raises(KekError, match="open to others") as refused:
        FileKek.open(tmp_path / "kek")
    assert "chmod 600" in refused.value.remedy


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    made = FileKek.create(tmp_path / "kek")
    with pytest.raises(KekError, match="exists"):
        FileKek.create(tmp_path / "kek")
    assert FileKek.open(tmp_path / "kek").kek_id == made.kek_id


@pytest.mark.parametrize("content", [b"", b"k" * 31, b"k" * 33])
def test_a_file_of_another_length_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "kek"
    file.touch(0o600)
    file.write_bytes(content)
    with pytest.raises(KekError, match="32 bytes"):
        FileKek.open(file)
    with pytest.raises(KekError, match="cannot be read"):
        FileKek.open(tmp_path / "absent")


def test_the_key_is_in_no_representation_of_it() -> None:
    kek = FileKek(b"secret-key-material-of-32-bytes!")
    shown = f"{kek!r} {kek} {kek.kek_id}"
    assert "secret" not in shown
    assert b"secret-key".hex() not in shown
