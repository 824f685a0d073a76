"""The authority as a process: two listeners, one writer, and the beat that keeps time."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from cryptography import x509
from fastapi import FastAPI
from sqlalchemy import Connection

from authority import audit, passes, results, scheduler
from authority.alerts.destinations import destinations
from authority.alerts.pump import AlertPump
from authority.alerts.pumping import Pump
from authority.alerts.rfc5424 import Origin
from authority.config import AuthorityConfig, ConfigError, Listener, Site, load_site
from authority.keys import KekError, fencing, versions
from authority.keys.fencing import FenceFile
from authority.keys.kek import KekProvider
from authority.keys.kek_shelf import KekShelf, current
from authority.keys.shredding import ShredKeys
from authority.metrics import Plane
from authority.oidc import sign_on
from authority.operators import create_operator_token
from authority.pki import CertificateAuthority
from authority.planes import Hub, PlaneServer, create_node_app, node_server, operator_server
from authority.planes.operator_context import OperatorContext
from authority.planes.operator_plane import create_operator_app
from authority.planes.tls import take_descriptors
from authority.replicas import Membership, check_shreds
from authority.roles import Scope
from authority.runtime import Push, Runtime
from authority.site_database import database_password, open_store, refuse_used
from authority.store import Store, StoreUnavailable
from authority.trust import load_policy
from authority.watching import Watch, watch_over

T = TypeVar("T")
ChooseKek = Callable[[Connection, KekShelf], KekProvider]
BEAT_S = 0.5
BACKLOG = 2048
"""Connections that may wait to be accepted."""
YEAR_S = 365 * 86400.0
_PR_SET_DUMPABLE = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Authority:
    """Everything that `serve` holds open."""

    site: Site
    store: Store
    runtime: Runtime
    ca: CertificateAuthority
    fence: FenceFile
    membership: Membership


def initialise(
    site: Site,
    names: list[str],
    now: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
    kek: tuple[str, Mapping[str, str]] = ("file", {}),
) -> None:
    """Make CA, KEK (of a kind, with its options), database and the first operator's token in an empty state folder."""
    refuse_used(site)
    CertificateAuthority.create(site.path("ca"), names, now())
    KekShelf(site.folder, random).add(*kek)
    authority = open_authority(site, now, random)
    try:
        authority.store.run(lambda conn: _first_operator(conn, authority))
    finally:
        authority.store.close()


def _first_operator(conn: Connection, authority: Authority) -> None:
    rt = authority.runtime
    token = create_operator_token(conn, rt, "first-operator", [Scope.ADMIN], YEAR_S)
    audit.append(conn, "initialised", "authority", None, {"policy": rt.policy.version}, rt.now())
    write_token(authority.site, token)


def write_token(site: Site, token: str) -> None:
    """Write the first operator's token into its file (0600), which must not be there."""
    with os.fdopen(os.open(site.operator_token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token + "\n")


def open_authority(
    site: Site,
    now: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
    choose: ChooseKek = current,
) -> Authority:
    """Load keys and policy, open the store, bring its schema up to date, and see whether it was restored.

    `choose` gives the key-encryption key: the one that the database names.
    """
    ca, policy = CertificateAuthority.load(site.path("ca")), load_policy(site.path(site.config.policy))
    shelf, fence = KekShelf(site.folder, random), FenceFile(site.folder)
    shreds = ShredKeys(site.path(site.config.shreds), random)
    store = open_store(site)
    try:
        kek = store.run(lambda conn: choose(conn, shelf))
        opened = store.run(lambda conn: fencing.settle(conn, fence.read(), now()))
        runtime = Runtime(
            policy=policy,
            now=now,
            random=random,
            kek=kek,
            kos_key=ca.kos_key,
            approval_key=ca.approval_key,
            generation=opened.generation,
            ear_key=ca.ear_key(),
            log=ca.log_signer(now()),
            shreds=shreds,
            results_kept_s=site.config.results.kept_s,
        )
        if store.shared:
            store.run(lambda conn: check_shreds(conn, site.path(site.config.shreds), random(16)))
        membership = Membership(store, runtime, site.config.database, database_password(site))
        store.run(lambda conn: _begin(conn, runtime, opened))
        authority = Authority(site, store, runtime, ca, fence, membership)
        _begin_house(authority)
    except BaseException:
        store.close()
        raise
    if opened.cause:
        _log.warning("a new generation begins", extra={"generation": opened.generation, "cause": opened.cause})
    return authority


def _begin(conn: Connection, rt: Runtime, opened: fencing.Opened) -> None:
    """New versions for those that were lost, and new keys in a new generation; nodes get them when they connect."""
    versions.replace_lost(conn, rt, rt.now())
    if opened.cause:
        fencing.renew_all(conn, rt, rt.now())


def peek(site: Site, view: Callable[[Connection], T]) -> T:
    """What `view` finds in the database, beside an authority that may be serving it."""
    store = open_store(site)
    try:
        return store.run(view)
    finally:
        store.close()


def _begin_house(authority: Authority) -> None:
    """A full disk keeps no authority from starting: the beat tries again."""
    try:
        authority.store.run(lambda conn: keep_house(conn, authority))
    except KekError as error:
        _log.error("the keys of the keys are not in order", extra={"cause": str(error)})


def keep_house(conn: Connection, authority: Authority) -> None:
    """What waits for a transaction of its own: the fence follows, shred keys of destroyed versions go.

    The fence comes first, for it may tell of nothing that could still be rolled back.
    """
    rt = authority.runtime
    authority.membership.note(authority.fence.keep(conn, rt.generation))
    if not authority.membership.has_beat(conn):
        return
    authority.membership.tidy(conn)
    versions.shred(conn, rt, rt.now())
    versions.destroy_old(conn, rt, rt.now())
    results.forget(conn, rt, rt.now())


def roots_of(site: Site, names: list[str]) -> list[x509.Certificate]:
    """The certificates in PEM files; raises `ConfigError` naming the file at fault."""
    found: list[x509.Certificate] = []
    for name in names:
        try:
            found += x509.load_pem_x509_certificates(site.path(name).read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"endorsement root {site.path(name)}: {error}", "Name a PEM file.") from None
    return found


def serve(folder: Path) -> None:
    """Serve both planes until SIGTERM or SIGINT; a server certificate near its end is renewed first."""
    forbid_core_dumps()
    take_descriptors()
    site = load_site(folder)
    with sole_use(site):
        _serve_site(site)


def _serve_site(site: Site) -> None:
    authority = open_authority(site)
    authority.store.run(lambda conn: authority.membership.begin_policy(conn, authority.runtime.now()))
    authority.ca.renew_server_if_due(site.config.names, authority.runtime.now())
    pumps: list[Pump[Any]] = [_alert_pump(authority), _result_pump(authority)]
    for pump in pumps:
        pump.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(authority, site.config))
    finally:
        for pump in pumps:
            pump.stop()
        authority.store.close()


def _alert_pump(authority: Authority) -> AlertPump:
    ours, to = authority.membership.has_alerts, destinations(authority.site)
    return AlertPump(authority.store.run, to, _origin(), authority.runtime.now, pause_s=BEAT_S, ours=ours)


def _result_pump(authority: Authority) -> results.ResultPump:
    rt, to = authority.runtime, results.subscribers(authority.site)
    ours = authority.membership.has_results
    return results.ResultPump(authority.store.run, to, rt.generation, rt.now, pause_s=BEAT_S, ours=ours)


def _origin() -> Origin:
    return Origin(socket.gethostname(), procid=str(os.getpid()))


@contextlib.contextmanager
def sole_use(site: Site) -> Iterator[None]:
    """Hold the state folder for this process alone; raises `ConfigError` when another authority serves it."""
    descriptor = os.open(site.path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigError(
            f"another authority serves {site.folder} already", "Stop it first, or name another --state."
        ) from None
    finally:
        os.close(descriptor)


def forbid_core_dumps() -> None:
    """No core dump of this process, and no debugger of another user: it holds keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _log.warning("the process could not be made undumpable", extra={"errno": ctypes.get_errno()})


async def _serve(authority: Authority, config: AuthorityConfig) -> None:
    hub = authority.membership.hub()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    site, rt, ca = authority.site, authority.runtime, authority.ca
    roots = roots_of(site, config.endorsement.roots)
    lab_roots = roots_of(site, config.endorsement.lab_roots)
    watch = watch_over(site, authority.store, rt, [each.name for each in destinations(site)])
    node_app = create_node_app(authority.store, rt, ca, roots, lab_roots, hub, watch.meter)
    operator_app = create_operator_app(_operator_context(authority, hub, watch))
    node_place = config.node_plane
    shaken = watch.meter.shaken_hands
    servers = [
        node_server(node_app, ca, node_place.host, node_place.port, partial(shaken, Plane.NODE)),
        _operator_server(operator_app, authority, partial(shaken, Plane.OPERATOR)),
    ]
    sockets = [listen(config.node_plane), listen(config.operator_plane)]
    pairs = zip(servers, sockets, strict=True)
    tasks = [asyncio.create_task(server.serve([opened])) for server, opened in pairs]
    tasks.append(asyncio.create_task(beat(authority, hub, watch)))
    _log.info("serving", extra={"nodes": _place(config.node_plane), "operators": _place(config.operator_plane)})
    ended = asyncio.create_task(stop.wait())
    async with authority.membership.taking_part(hub):
        await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    tasks[-1].cancel()
    hub.close()
    for server in servers:
        server.should_exit = True
    for ending in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ending, Exception):
            raise ending


def _operator_context(authority: Authority, hub: Hub, watch: Watch) -> OperatorContext:
    site = authority.site
    reload = partial(load_policy, site.path(site.config.policy))
    return OperatorContext(
        authority.store,
        authority.runtime,
        hub,
        authority.ca.ca_sha256,
        reload,
        partial(destinations, site),
        _origin(),
        watch=watch,
        sign_on=sign_on(site, authority.runtime.now),
        subscribers=partial(results.subscribers, site),
    )


def _operator_server(app: FastAPI, authority: Authority, connected: Callable[[], None]) -> PlaneServer:
    site, listener = authority.site, authority.site.config.operator_plane
    file = site.path(site.config.operator_ca) if site.config.operator_ca else None
    try:
        return operator_server(app, authority.ca, listener.host, listener.port, connected, file)
    except OSError as error:
        raise ConfigError(f"operator_ca {file}: {error.strerror or error}", "Name a PEM file.") from None


def _place(listener: Listener) -> str:
    return f"{listener.host}:{listener.port}"


def listen(listener: Listener) -> socket.socket:
    """A listening socket; raises `ConfigError` naming the address at fault."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    try:
        return socket.create_server((listener.host, listener.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {listener.host}:{listener.port}: {error.strerror or error}",
            "Stop what listens there, or change [node_plane] or [operator_plane] in authority.toml.",
        ) from None


def _sweep(conn: Connection, authority: Authority, now: float, *, first: bool) -> list[Push]:
    """As `scheduler.sweep`, by the replica whose turn it is; one that finds others serving ends no outage."""
    membership = authority.membership
    if not membership.has_beat(conn):
        return []
    return scheduler.sweep(conn, authority.runtime, now, first=first and not membership.others(conn))


def _pass(conn: Connection, authority: Authority) -> tuple[list[Push], bool]:
    """As `passes.go_on`, by the replica whose turn the beat is."""
    rt = authority.runtime
    return passes.go_on(conn, rt, rt.now()) if authority.membership.has_beat(conn) else ([], False)


async def _make_passes(authority: Authority, hub: Hub) -> None:
    """Passes of what was ordered over the whole fleet, for half of a beat at most; others decide in between."""
    until, more = time.monotonic() + BEAT_S / 2, True
    while more and time.monotonic() < until:
        pushes, more = await authority.store.arun(partial(_pass, authority=authority))
        await hub.push(pushes)


async def beat(authority: Authority, hub: Hub, watch: Watch) -> None:
    """Twice a second: due challenges, expired ones, due rotations; what follows is pushed to the nodes."""
    rt, first, planned = authority.runtime, True, time.monotonic()
    while True:
        begun = time.monotonic()
        watch.clock.look()
        try:
            sweep = partial(_sweep, authority=authority, now=rt.now(), first=first)
            await hub.push(await authority.store.arun(sweep))
            first = False
            watch.swept(begun - planned, time.monotonic() - begun)
            await _make_passes(authority, hub)
            await authority.store.arun(lambda conn: keep_house(conn, authority))
        except StoreUnavailable as error:
            _log.error("the store is unavailable", extra={"cause": str(error)})
        except KekError as error:
            _log.error("the keys of the keys are not in order", extra={"cause": str(error)})
        planned = time.monotonic() + BEAT_S
        await asyncio.sleep(BEAT_S)
