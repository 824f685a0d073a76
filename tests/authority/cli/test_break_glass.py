"""From the sealed file to a token that opens everything, over the wire."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from authority.store import schema
from tests.authority.cli.conftest import Run, Serving


def test_a_sealed_credential_admits_whoever_has_it_and_its_passphrase(
    serving: Serving, run: Run, tmp_path: Path
) -> None:
    word, wrong, glass = tmp_path / "word", tmp_path / "wrong", tmp_path / "glass"
    for file, text in ((word, "correct horse battery"), (wrong, "incorrect horse battery")):
        file.write_text(text)
        file.chmod(0o600)
    made = run("break-glass", "make", "--out", glass, "--passphrase-file", word, "--state", serving.state, "--json")
    assert made.status == 0 and "horse" not in glass.read_text()
    use = ("break-glass", "use", glass, "--operator", "ada", "--reason", "the identity provider is down")
    kept_out = run(*use, "--passphrase-file", wrong, "--out", tmp_path / "t0", *serving.options)
    assert kept_out.status == 1 and "does not open" in kept_out.err and not (tmp_path / "t0").exists()
    (serving.state / "operator.token").unlink()
    given = run(*use, "--passphrase-file", word, "--out", tmp_path / "token", *serving.options, "--json")
    assert given.status == 0 and "kvo1." not in given.out
    admin = ("token", "create", "new-admin", "--scope", "admin", "--out", tmp_path / "new")
    assert run(*admin, "--token-file", tmp_path / "token", *serving.options).status == 0
    again = run(*use, "--passphrase-file", word, "--out", tmp_path / "t2", *serving.options, "--json")
    assert again.status == 1 and "admits nobody" in again.value["error"]
    kinds = serving.authority.store.run(lambda conn: [*conn.scalars(select(schema.alert.c.kind))])
    assert kinds[-2:] == ["break-glass-used", "break-glass-refused"]
    listed = run("break-glass", "list", "--state", serving.state, "--json").value
    assert [each["operator"] for each in listed] == ["ada"]


def test_guessing_is_slowed_down(serving: Serving, run: Run, tmp_path: Path) -> None:
    import httpx

    ca = str(serving.authority.ca.ca_file)
    body = {"secret": "00" * 32, "operator": "eve", "reason": "only trying my luck"}
    with httpx.Client(verify=ca, trust_env=False) as http:
        statuses = [http.post(serving.url + "/v1/break-glass", json=body).status_code for _ in range(7)]
        short = http.post(serving.url + "/v1/break-glass", json=body | {"reason": "x"})
    assert statuses == [401] * 5 + [429] * 2
    assert short.status_code == 422 and "0000" not in short.text
