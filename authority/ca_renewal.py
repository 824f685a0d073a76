"""A new CA without a flag day: shown to nodes, then used, and only then is the old one no longer believed.

`stage` makes the next CA beside the present one; nodes fetch it when they renew their certificates, see that the
present one vouches for it, and trust both from then on. `activate` has the next one issue; client certificates of the
old one are still good. `retire` ends that, once every one of them has expired.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection, delete, insert, select, update

from authority import audit
from authority.keys.kek import overwrite_and_remove
from authority.pki import CA_YEARS, CertificateAuthority, PkiError, key_pem, self_signed, write_file
from authority.runtime import Refusal
from authority.store import schema
from authority.store.schema_break_glass import ca_trust
from protocol.levels import NodeState
from protocol.messages import NextCa
from protocol.next_ca import NEXT_CA_USAGE

ACTIVATED = "ca-activated-at"
_OUT = (NodeState.BANNED.value, NodeState.RETIRED.value)


@dataclass(frozen=True)
class CaFiles:
    """Where the CAs of a site lie, present, next and old."""

    folder: Path

    @property
    def next_key(self) -> Path:
        """Key of the next CA, until it is activated."""
        return self.folder / "next.key"

    @property
    def next(self) -> Path:
        """Certificate of the next CA."""
        return self.folder / "next.pem"

    @property
    def voucher(self) -> Path:
        """The present CA's word for the next one's key."""
        return self.folder / "next-voucher.pem"

    @property
    def old(self) -> Path:
        """Certificate of the CA before, whose client certificates are still good."""
        return self.folder / "old.pem"

    @property
    def old_key(self) -> Path:
        """Key of the CA before, destroyed when it retires."""
        return self.folder / "old.key"


def stage(folder: Path, now: float) -> str:
    """Make the next CA; gives the SHA-256 of its certificate. Raises `PkiError`."""
    files, present = CaFiles(folder), CertificateAuthority.load(folder)
    if files.next.exists() or files.old.exists():
        raise PkiError("a renewal of the CA is under way", "See `ca status`, and end that one first.")
    key = ec.generate_private_key(ec.SECP256R1())
    following = self_signed(key, now, f"Keyvigil authority {present.certificate.serial_number % 16**8:08x}")
    voucher = present.issue_leaf("Keyvigil next CA", key.public_key(), now, CA_YEARS * 365 * 86400.0, NEXT_CA_USAGE)
    write_file(files.next_key, key_pem(key))
    write_file(files.voucher, voucher.public_bytes(Encoding.PEM), mode=0o644)
    write_file(files.next, following.public_bytes(Encoding.PEM), mode=0o644)
    return sha256_of(files.next)


def shown(folder: Path) -> NextCa:
    """What nodes are shown; empty where nothing is staged, or it is in use already."""
    files = CaFiles(folder)
    if not (files.next.exists() and files.voucher.exists()):
        return NextCa(certificate="", voucher="")
    return NextCa(certificate=files.next.read_text(), voucher=files.voucher.read_text())


def note_trust(conn: Connection, node_id: str, ca_sha256: str, now: float) -> None:
    """A node says which next CA it trusts."""
    mine = ca_trust.c.node_id == node_id
    values = {"ca_sha256": ca_sha256, "at": now}
    if conn.execute(update(ca_trust).where(mine).values(**values)).rowcount == 0:
        conn.execute(insert(ca_trust).values(node_id=node_id, **values))


def status(conn: Connection, folder: Path) -> dict[str, Any]:
    """How a renewal stands: the CAs, and the nodes that do not trust the next one yet."""
    files = CaFiles(folder)
    staged = sha256_of(files.next) if files.next.exists() else None
    return {
        "present": sha256_of(folder / "ca.pem"),
        "next": staged,
        "old": sha256_of(files.old) if files.old.exists() else None,
        "behind": _behind(conn, staged) if staged is not None else [],
        "activated_at": _activated_at(conn),
    }


def activate(conn: Connection, folder: Path, names: Sequence[str], actor: str, now: float, *, leave: bool) -> list[str]:
    """Have the next CA issue from now on; gives the names of nodes that are left behind, if that is allowed.

    Raises `PkiError` and `Refusal`. Cut off in the middle, it is finished by being called again.
    """
    files = CaFiles(folder)
    cut_off = files.old.exists() and _activated_at(conn) is None
    if not files.next.exists() and not cut_off:
        raise PkiError("no CA is staged", "Run `ca stage`, and wait until the nodes know it.")
    following = sha256_of(files.next if files.next.exists() else folder / "ca.pem")
    behind = _behind(conn, following)
    if behind and not leave:
        text = f"{len(behind)} nodes do not trust the next CA yet, {behind[0]} among them"
        raise Refusal(text, "Wait until they renewed their certificates; --leave-behind has them join again.")
    _swap(files)
    ca = CertificateAuthority.load(folder)
    ca.renew_server(names, now)
    ca.log_signer(now)
    _set_activated(conn, now)
    audit.append(conn, "ca-activated", actor, None, {"ca": following, "behind": len(behind)}, now)
    return behind


def retire(conn: Connection, folder: Path, lifetime_s: float, actor: str, now: float) -> None:
    """Believe the old CA no longer, and destroy its key. Raises `PkiError`, and `Refusal` while anything is of it."""
    files, since = CaFiles(folder), _activated_at(conn)
    if not files.old.exists():
        raise PkiError("there is no old CA", "Nothing is left to do.")
    if since is None or now < since + lifetime_s:
        raise Refusal("client certificates of the old CA may still be in use", "Wait until they have expired.")
    old = sha256_of(files.old)
    overwrite_and_remove(files.old_key)
    files.old.unlink()
    conn.execute(delete(ca_trust))
    conn.execute(delete(schema.meta).where(schema.meta.c.key == ACTIVATED))
    audit.append(conn, "ca-retired", actor, None, {"ca": old}, now)


def sha256_of(file: Path) -> str:
    """SHA-256 of a certificate (DER), hexadecimal."""
    return hashlib.sha256(x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)).hexdigest()


def _behind(conn: Connection, following: str) -> list[str]:
    """Names of nodes in service that have not said that they trust this CA."""
    node = schema.node
    trusting = select(ca_trust.c.node_id).where(ca_trust.c.ca_sha256 == following)
    query = select(node.c.name).where(node.c.state.not_in(_OUT) & node.c.id.not_in(trusting))
    return [*conn.scalars(query.order_by(node.c.name))]


def _swap(files: CaFiles) -> None:
    """Old aside, next in its place. Every step may be the last one before a crash, and each is done once."""
    present_key, present = files.folder / "ca.key", files.folder / "ca.pem"
    if not files.old.exists():
        keep_origin(files.folder)
        shutil.copyfile(present, files.old)
        write_file(files.old_key, present_key.read_bytes())
    if files.next_key.exists():
        files.next_key.replace(present_key)
    (files.folder / "log.pem").unlink(missing_ok=True)
    files.voucher.unlink(missing_ok=True)
    if files.next.exists():
        files.next.replace(present)


def keep_origin(folder: Path) -> None:
    """Write down the name of the audit log, which is that of the first CA and stays."""
    file = folder / "log.origin"
    if not file.exists():
        write_file(file, CertificateAuthority.load(folder).log_origin.encode())


def _activated_at(conn: Connection) -> float | None:
    value = conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == ACTIVATED))
    return None if value is None else float(value)


def _set_activated(conn: Connection, now: float) -> None:
    row = schema.meta
    if conn.execute(update(row).where(row.c.key == ACTIVATED).values(value=repr(now))).rowcount == 0:
        conn.execute(insert(row).values(key=ACTIVATED, value=repr(now)))
