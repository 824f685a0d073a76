"""The examinations, each a plain function of what it looks at."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography import x509
from sqlalchemy import Connection, insert, select, update

from authority import operators
from authority.alerts import ledger, refusals
from authority.config import Site
from authority.health.clock import KernelClock, remedy
from authority.health.findings import Check, Finding
from authority.keys.kek import KekError, KekProvider
from authority.keys.kek_shelf import KekShelf
from authority.results import QUEUE
from authority.store import schema

DAY_S = 86400.0
LEAF_DAYS = 14
"""A server certificate renews itself a month before its end: whoever has less left did not start since."""
CA_DAYS = 180
LEAST_FREE_BYTES = 64 * 2**20
_PROBE = "health-probe"
_OPENED_FROM_FILES = {"file", "credential"}


def certificates(site: Site) -> Iterator[tuple[str, Path, int]]:
    """Name, file and the days before the end from which on it is too late, of everything that can expire."""
    folder = site.path("ca")
    yield "server", folder / "server.pem", LEAF_DAYS
    yield "ca", folder / "ca.pem", CA_DAYS
    yield "log", folder / "log.pem", CA_DAYS
    for each in site.config.alerts.destinations:
        if each.certificate:
            yield f"alerts-{each.name}", site.path(each.certificate), LEAF_DAYS


def expiry(file: Path) -> float:
    """POSIX seconds at which the certificate in a PEM file ends; raises `OSError` or `ValueError`."""
    return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()


def credentials(site: Site, now: float) -> list[Finding]:
    """Certificates that ended, end soon, or cannot be read."""
    found = (_credential(name, file, days, now) for name, file, days in certificates(site))
    return [each for each in found if each is not None]


def _credential(name: str, file: Path, days: int, now: float) -> Finding | None:
    ours = not name.startswith("alerts-")
    try:
        left = expiry(file) - now
    except (OSError, ValueError):
        return Finding(Check.CREDENTIALS, f"{file} holds no certificate", "Restore it from its backup.", hinders=ours)
    if left > days * DAY_S:
        return None
    when = "has expired" if left <= 0 else f"expires in {int(left // DAY_S)} days"
    return Finding(Check.CREDENTIALS, f"the {name} certificate {when}", _renewal(name), hinders=ours and left <= 0)


def _renewal(name: str) -> str:
    if name == "server":
        return "Restart the authority: it renews its server certificate when it starts."
    if name in {"ca", "log"}:
        return "Renew the CA with `keyvigil-authority ca stage`; docs/operations.md says how."
    return "Renew it where the receiver of the alerts gave it out."


def clock(step_s: float, kernel: KernelClock | None) -> list[Finding]:
    """Steps within the last hour, and what the kernel knows."""
    found = []
    if step_s:
        way = "forward" if step_s > 0 else "back"
        text = f"the clock was set {way} by {abs(step_s):.0f} s within the last hour"
        found.append(Finding(Check.CLOCK, text, remedy(), hinders=False))
    if kernel is not None and kernel.fault():
        found.append(Finding(Check.CLOCK, kernel.fault(), remedy(), hinders=False))
    return found


def disk(folder: Path, least_bytes: int = LEAST_FREE_BYTES) -> list[Finding]:
    """Too little room where the database lies."""
    try:
        room = os.statvfs(folder)
    except OSError as error:
        return [Finding(Check.DISK, f"{folder} is not to be had: {error.strerror}", "Mount it again.")]
    free = room.f_bavail * room.f_frsize
    if free >= least_bytes:
        return []
    text = f"only {free // 2**20} MiB are free where {folder} lies"
    return [Finding(Check.DISK, text, "Free disk space before the database can no longer grow.", hinders=False)]


def keys(folder: Path, kek: KekProvider) -> list[Finding]:
    """Whether the key-encryption key is there and works: its file, and a round trip through it."""
    try:
        shelf = KekShelf(folder)
        if shelf.entry(kek.kek_id).kind in _OPENED_FROM_FILES:
            shelf.open(kek.kek_id)
        if kek.unwrap(kek.wrap(b"probe", b"health"), b"health") != b"probe":
            raise KekError("the key-encryption key does not work", "See `keyvigil-authority kek show`.")
    except KekError as error:
        return [Finding(Check.KEYS, str(error), error.remedy)]
    return []


def probe(conn: Connection, destinations: Iterable[str], now: float, subscribers: Iterable[str] = ()) -> list[Finding]:
    """Write something, for only that shows that it can be done; and look at the outboxes."""
    row = schema.meta
    if conn.execute(update(row).where(row.c.key == _PROBE).values(value=repr(now))).rowcount == 0:
        conn.execute(insert(row).values(key=_PROBE, value=repr(now)))
    return [*sinks(conn, destinations, now), *_subscribers(conn, subscribers, now), *approvers(conn, now)]


def approvers(conn: Connection, now: float) -> list[Finding]:
    """Whether two persons are asked for where there are not two: nothing can be approved then."""
    row = schema.policy_version
    settings = conn.scalar(select(row.c.settings).order_by(row.c.seq.desc()).limit(1))
    if settings is None or json.loads(settings).get("approvals", {}).get("persons", 1) < 2:
        return []
    known = len(operators.persons_who_may_approve(conn, now))
    if known >= 2:
        return []
    text = f"the policy asks for two persons, and credentials name {known} who may approve"
    return [Finding(Check.CREDENTIALS, text, "Say whose they are: `token whose`, docs/api.md.", hinders=False)]


def sinks(conn: Connection, destinations: Iterable[str], now: float) -> list[Finding]:
    """Destinations that alerts have waited for too long, and those that refuse some."""
    found = []
    for name in destinations:
        found += _set_aside(conn, name)
        if not ledger.stuck(conn, name, now):
            continue
        entry = ledger.entry(conn, name)
        why = f": {entry.last_error}" if entry is not None and entry.last_error else ""
        text = f"{ledger.waiting(conn, name)} alerts wait for {name}{why}"
        remedy_text = f"Try it with `keyvigil-authority alert test {name}`, and mend the receiver or its settings."
        found.append(Finding(Check.SINKS, text, remedy_text, hinders=False))
    return found


def _set_aside(conn: Connection, name: str) -> list[Finding]:
    aside = refusals.set_aside(conn, name)
    if not aside:
        return []
    text = f"{aside} alerts are set aside at {name}, which refuses them"
    how = "See `keyvigil-authority alert stuck`; then `alert retry`, or `alert discard`."
    return [Finding(Check.SINKS, text, how, hinders=False)]


def _subscribers(conn: Connection, subscribers: Iterable[str], now: float) -> list[Finding]:
    """Subscribers that attestation results have waited for too long."""
    found = []
    for name in subscribers:
        if ledger.stuck(conn, name, now, QUEUE):
            text = f"{ledger.waiting(conn, name, QUEUE)} attestation results wait for {name}"
            how = f"Try it with `keyvigil-authority result test {name}`, and mend the subscriber or its settings."
            found.append(Finding(Check.SINKS, text, how, hinders=False))
    return found


def wrapping_key(conn: Connection) -> str | None:
    """The name of the key-encryption key that the database is under; none before the first start."""
    return conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == "kek_id"))
