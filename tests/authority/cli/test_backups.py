"""`backup` and `restore`: what goes wrong is said with a remedy, and nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sqlalchemy import select

from authority.store import schema
from tests.authority.cli.conftest import Run, Serving


def secret(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_a_backup_of_a_serving_authority_comes_back(serving: Serving, run: Run, tmp_path: Path) -> None:
    word = secret(tmp_path / "word", "correct horse battery staple\n")
    out, new = tmp_path / "b.kvb", tmp_path / "new"
    made = run("backup", out, "--passphrase-file", word, "--state", serving.state, "--json")
    assert made.status == 0 and made.value["size"] == out.stat().st_size
    kinds = serving.authority.store.run(lambda conn: [*conn.scalars(select(schema.audit.c.kind))])
    assert kinds[-1] == "backup"
    assert made.value["sha256"] in serving.authority.store.run(
        lambda conn: conn.scalars(select(schema.audit.c.data).order_by(schema.audit.c.seq.desc())).first() or ""
    )
    wrong = secret(tmp_path / "wrong", "incorrect horse battery staple\n")
    refused = run("restore", out, "--passphrase-file", wrong, "--state", new, "--json")
    assert refused.status == 1 and "does not open" in refused.value["error"] and refused.value["remedy"]
    done = run("restore", out, "--passphrase-file", word, "--state", new, "--json")
    assert done.status == 0 and done.value["log_intact"] and done.value["tokens_revoked"] == 1
    assert run("kek", "show", "--state", new, "--json").status == 0
    for text in (made.out, done.out, json.dumps(made.value)):
        assert "horse" not in text


def test_what_is_missing_or_in_the_way_is_named(serving: Serving, run: Run, tmp_path: Path) -> None:
    word = secret(tmp_path / "word", "correct horse battery staple\n")
    out = tmp_path / "b.kvb"
    where = ("--state", serving.state, "--json")
    assert "for a key or for a passphrase" in run("backup", out, *where).value["error"]
    gone = run("backup", out, "--recipient", tmp_path / "none.pem", *where)
    assert gone.status == 1 and "cannot be read" in gone.value["error"]
    nowhere = run("backup", tmp_path / "no" / "b", "--passphrase-file", word, *where)
    assert nowhere.status == 1 and "cannot be written" in nowhere.value["error"]
    assert run("restore", tmp_path / "none", "--passphrase-file", word, "--state", tmp_path / "x").status == 1
    text = secret(tmp_path / "text", "nothing of ours\n")
    other = run("restore", text, "--passphrase-file", word, "--state", tmp_path / "x", "--json")
    assert "no backup of a Keyvigil authority" in other.value["error"]
    assert not out.exists() and not (tmp_path / "x").exists()
    assert {each.name for each in os.scandir(serving.state)} >= {"authority.db", "ca", "kek.key"}
