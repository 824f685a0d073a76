"""Key-encryption keys of several kinds: made, found again, replaced whatever cuts it off, destroyed for good."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from authority import owner_custody, releases
from authority.config import AuthorityConfig, Listener, Site
from authority.keys import KekError, create_network, kek_kinds
from authority.keys.kek_shelf import KekShelf, current, rewrap, usage
from authority.keys.versions import open_secret
from authority.service import Authority, initialise, open_authority
from authority.store import schema
from simulators.devices.softhsm import SoftHsm

SHARE = b"s" * 32
OWNER = b"o" * 40


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority with a network and a profile that has both shares."""
    folder = tmp_path_factory.mktemp("kek") / "state"
    folder.mkdir(mode=0o700)
    (folder / "policy.toml").write_text('version = "t"\n')
    initialise(site_in(folder), ["localhost"])
    authority = open_authority(site_in(folder))
    authority.store.run(lambda conn: fill(conn, authority))
    authority.store.close()
    return folder


def site_in(folder: Path) -> Site:
    return Site(folder, AuthorityConfig(["localhost"], Listener("127.0.0.1", 1), Listener("127.0.0.1", 2)))


def fill(conn: Connection, authority: Authority) -> None:
    rt = authority.runtime
    create_network(conn, rt, "core", 1.0)
    node = {"id": "n", "name": "n", "state": "active", "lab": False, "certificate_sha256": "", "joined_at": 0.0}
    blobs = dict.fromkeys(("ek_public", "ak_public", "delivery_public"), b"")
    conn.execute(
        insert(schema.node).values(
            **node, **blobs, certificate_not_after=0.0, reference_pcrs="{}", devices="[]", next_delivery=1
        )
    )
    conn.execute(insert(schema.administrator).values(name="ada", created_at=0.0))
    shares = {"release_share": releases.wrap(rt, "r", 1, SHARE), "following_share": releases.wrap(rt, "r", 2, SHARE)}
    times = {"created_at": 0.0, "expires_at": 1.0}
    row = {"record_id": "r", "enrolment_id": "e", "node_id": "n", "admin": "ada", "state": "active", "nonce": b""}
    conn.execute(insert(schema.profile).values(**row, **shares, **times, share_number=1))
    owner = rt.kek.wrap(OWNER, owner_custody.context("n"))
    conn.execute(insert(schema.tpm_owner).values(node_id="n", wrapped=owner, drawn_at=0.0))


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "state"))


@pytest.fixture
def authority(folder: Path) -> Iterator[Authority]:
    opened = open_authority(site_in(folder))
    yield opened
    opened.store.close()


def opens(authority: Authority) -> None:
    """Everything that is wrapped opens, under the key that the database names."""
    rt = authority.runtime

    def look(conn: Connection) -> None:
        owner = conn.execute(select(schema.tpm_owner)).one()
        assert rt.kek.unwrap(owner.wrapped, owner_custody.context("n")) == OWNER
        for version in (1, 2, 3):
            assert len(open_secret(conn, rt, "core", version)) == 32
        row = conn.execute(select(schema.profile)).one()
        assert releases.open_present(rt, row) == SHARE
        assert releases._following(rt, row)[0] == SHARE
        assert {*conn.scalars(select(schema.key_version.c.kek_id))} == {rt.kek.kek_id}

    authority.store.run(look)


def rotated(authority: Authority, kind: str = "file", **options: str) -> str:
    """Rotate as the command does; gives the new key's name."""
    shelf = KekShelf(authority.site.folder, authority.runtime.random)
    new = shelf.open(shelf.add(kind, options).kek_id)
    authority.store.run(lambda conn: rewrap(conn, authority.runtime.kek, new, "olga", 5.0))
    return new.kek_id


def test_a_rotation_puts_everything_under_the_new_key_and_the_old_one_opens_nothing(authority: Authority) -> None:
    opens(authority)
    old = authority.runtime.kek
    new = rotated(authority)
    authority.store.close()
    again = open_authority(authority.site)
    assert again.runtime.kek.kek_id == new != old.kek_id
    opens(again)
    assert again.store.run(usage)[new].as_dict() == {"current": True, "versions": 3, "shares": 2, "owners": 1}
    row = again.store.run(lambda conn: conn.execute(select(schema.profile)).one())
    with pytest.raises(KekError):
        old.unwrap(row.release_share, releases._context("r", 1))
    KekShelf(again.site.folder).destroy(old.kek_id)
    again.store.close()
    last = open_authority(authority.site)
    opens(last)
    last.store.close()


def test_a_copy_of_the_database_from_before_is_lost_with_the_old_key(authority: Authority, tmp_path: Path) -> None:
    old, folder = authority.runtime.kek.kek_id, authority.site.folder
    authority.store.close()
    shutil.copy(folder / "authority.db", tmp_path / "backup.db")
    middle = open_authority(authority.site)
    rotated(middle)
    middle.store.close()
    shutil.copy(folder / "authority.db", tmp_path / "now.db")
    shutil.copy(tmp_path / "backup.db", folder / "authority.db")
    control = open_authority(authority.site)
    opens(control)
    control.store.close()
    KekShelf(folder).destroy(old)
    assert not (folder / "kek.key").exists()
    with pytest.raises(KekError, match="any more"):
        open_authority(authority.site)


def die_at(step: int) -> Callable[[int], bytes]:
    """Randomness that kills its process, by a signal that nothing can catch, the `step`-th time it is asked."""
    asked = 0

    def random(count: int) -> bytes:
        nonlocal asked
        asked += 1
        if asked == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.urandom(count)

    return random


def rotate_and_die(folder: Path, step: int) -> bool:
    """Rotate in a process of its own that is killed at a step; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            rotated(open_authority(site_in(folder), random=die_at(step)))
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_rotation_killed_at_any_step_leaves_a_database_that_opens(folder: Path) -> None:
    killed = 0
    for step in range(1, 30):
        died = rotate_and_die(folder, step)
        killed += died
        survivor = open_authority(site_in(folder))
        opens(survivor)
        survivor.store.close()
        if not died:
            break
    assert killed >= 6, "name and key of the file, and a nonce for each of three versions and two shares"
    assert not died, "the last one got through"


def test_a_rotation_killed_before_its_commit_changes_nothing(folder: Path) -> None:
    before = open_authority(site_in(folder))
    name = before.runtime.kek.kek_id
    before.store.close()
    assert rotate_and_die(folder, 6)
    after = open_authority(site_in(folder))
    assert after.runtime.kek.kek_id == name
    after.store.close()


def test_the_key_in_force_of_an_authority_from_before_the_list_is_its_file(folder: Path) -> None:
    (folder / "keks.json").unlink()
    authority = open_authority(site_in(folder))
    opens(authority)
    rotated(authority)
    assert len(KekShelf(folder).entries()) == 2
    authority.store.close()


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"kek_id": "x"}]'])
def test_a_damaged_list_is_named_with_a_remedy(folder: Path, content: bytes) -> None:
    (folder / "keks.json").write_bytes(content)
    with pytest.raises(KekError, match=r"keks\.json") as caught:
        KekShelf(folder).entries()
    assert "backup" in caught.value.remedy


def test_another_key_in_the_place_of_a_listed_one_is_noticed(folder: Path) -> None:
    (folder / "kek.key").write_bytes(b"x" * 32)
    shelf = KekShelf(folder)
    with pytest.raises(KekError, match="another key"):
        shelf.open(shelf.entries()[0].kek_id)


def test_unknown_kinds_and_options_are_refused_with_what_there_is(tmp_path: Path) -> None:
    shelf = KekShelf(tmp_path)
    with pytest.raises(KekError, match="0 installed kinds") as caught:
        shelf.add("paper", {})
    assert "file" in caught.value.remedy and "tpm" in caught.value.remedy
    with pytest.raises(KekError, match="no option 'colour'"):
        shelf.add("file", {"colour": "red"})
    assert shelf.entries() == []


class TestCredential:
    @pytest.fixture
    def given(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """What systemd gives: a file that only the service reads."""
        given = tmp_path / "credentials"
        given.mkdir()
        (given / "keyvigil-kek").touch(0o400)
        (given / "keyvigil-kek").chmod(0o600)
        (given / "keyvigil-kek").write_bytes(b"c" * 32)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
        return given

    def test_everything_can_lie_under_a_credential(self, authority: Authority, given: Path) -> None:
        name = rotated(authority, "credential")
        assert name.startswith("credential:")
        authority.store.close()
        again = open_authority(authority.site)
        opens(again)
        again.store.close()

    def test_outside_of_the_service_the_key_is_not_to_be_had(
        self, authority: Authority, given: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rotated(authority, "credential")
        monkeypatch.delenv("CREDENTIALS_DIRECTORY")
        with pytest.raises(KekError, match="CREDENTIALS_DIRECTORY"):
            authority.store.run(lambda conn: current(conn, KekShelf(authority.site.folder)))

    def test_it_is_not_said_to_be_destroyed_while_systemd_gives_it(self, given: Path) -> None:
        kind = kek_kinds.CredentialKind()
        with pytest.raises(KekError, match="still gives"):
            kind.destroy(given, {"name": "keyvigil-kek"})
        (given / "keyvigil-kek").unlink()
        kind.destroy(given, {"name": "keyvigil-kek"})

    @pytest.mark.parametrize(("name", "words"), [("../kek", "name has"), ("absent", "cannot be read")])
    def test_a_name_leads_nowhere_else(self, given: Path, name: str, words: str) -> None:
        with pytest.raises(KekError, match=words):
            kek_kinds.CredentialKind().open(given, {"name": name}, os.urandom)


TOKEN_WORK = """
import os, sys
from pathlib import Path
from authority.keys.kek import KekError
from authority.keys.kek_shelf import KekShelf
import pkcs11

folder, module, token, pin_file = sys.argv[1:]
shelf = KekShelf(Path(folder))
entry = shelf.add("pkcs11", {"module": module, "token": token, "pin_file": pin_file})
kek = shelf.open(entry.kek_id)
wrapped = kek.wrap(b"s" * 32, b"here")
assert shelf.open(entry.kek_id).unwrap(wrapped, b"here") == b"s" * 32
assert wrapped != kek.wrap(b"s" * 32, b"here") and b"s" * 8 not in wrapped
for blob, context in ((wrapped, b"there"), (wrapped[:-1] + bytes([wrapped[-1] ^ 1]), b"here"), (b"", b"here")):
    try:
        kek.unwrap(blob, context)
    except KekError:
        continue
    raise SystemExit(f"opened: {blob!r} {context!r}")
try:
    kek._key[pkcs11.Attribute.VALUE]
except pkcs11.exceptions.AttributeSensitive:
    print("sensitive")
shelf.destroy(entry.kek_id)
try:
    kek.unwrap(wrapped, b"here")
except KekError:
    print("destroyed")
print(len(shelf.entries()))
"""


def test_a_key_on_a_token_never_leaves_it_and_is_destroyed_by_it(tmp_path: Path) -> None:
    """In a process of its own: a PKCS#11 module is started once in a process, with one configuration."""
    if find_spec("pkcs11") is None or not shutil.which("softhsm2-util"):
        pytest.skip("no python-pkcs11 or no SoftHSM2")
    with SoftHsm(tmp_path / "token", "kek") as token:
        where = (str(tmp_path), str(token.module), token.label, str(token.pin_file))
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(TOKEN_WORK), *where],
            env={**os.environ, **token.environment()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout.split()) == (0, ["sensitive", "destroyed", "0"]), done.stderr
