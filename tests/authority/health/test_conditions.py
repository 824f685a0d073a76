"""Each condition, produced: the check that names it, and the same authority before it, which is in order."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from authority import policies
from authority.alerts import Origin, raise_alert
from authority.alerts.destinations import Destination
from authority.alerts.pump import AlertPump
from authority.alerts.sinks import SinkError, TcpSink
from authority.health import Check, HealthMonitor, KernelClock, Subject, examine_stopped, kernel_clock
from authority.health.checks import disk
from authority.operators import create_operator_token
from authority.pki import CertificateAuthority
from authority.planes import Hub
from authority.roles import Scope
from authority.service import beat
from authority.trust.policy import ApprovalRules
from authority.watching import watch_over
from tests.authority.health.conftest import Examined

DAY = 86400.0


def test_an_authority_in_order_has_nothing_to_report(examined: Examined) -> None:
    report = examined.report()
    assert report.healthy and report.ready, report.as_dict()


def test_an_expired_server_certificate_is_red_and_hinders(examined: Examined) -> None:
    folder = examined.site.path("ca")
    CertificateAuthority.load(folder).renew_server(["localhost"], examined.clock - 366 * DAY)
    report = examined.report()
    assert [each.check for each in report.findings] == [Check.CREDENTIALS]
    assert "server certificate has expired" in report.findings[0].reason
    assert "Restart" in report.findings[0].remedy
    assert not report.ready


def test_a_server_certificate_that_ends_soon_is_red_and_does_not_hinder(examined: Examined) -> None:
    folder = examined.site.path("ca")
    CertificateAuthority.load(folder).renew_server(["localhost"], examined.clock - (365 - 10) * DAY)
    report = examined.report()
    assert (
        "server certificate expires in 10 days" in report.findings[0].reason or "in 9 days" in report.findings[0].reason
    )
    assert not report.healthy and report.ready


def test_a_ca_that_ends_is_named_with_its_renewal(examined: Examined) -> None:
    examined.pass_time((10 * 365 - 100) * DAY)
    ca = [each for each in examined.report().findings if "ca certificate" in each.reason]
    assert ca and "ca stage" in ca[0].remedy and not ca[0].hinders
    examined.pass_time(101 * DAY)
    ca = [each for each in examined.report().findings if "ca certificate has expired" in each.reason]
    assert ca and ca[0].hinders


def test_a_certificate_that_cannot_be_read_is_named(examined: Examined) -> None:
    (examined.site.path("ca") / "server.pem").write_text("nothing")
    assert "server.pem" in examined.found()[Check.CREDENTIALS]


def test_a_clock_that_is_set_is_red_for_an_hour(examined: Examined) -> None:
    examined.pass_time(30)
    examined.watch.look()
    examined.clock += 3600
    assert "forward by 3600 s" in examined.found()[Check.CLOCK]
    examined.pass_time(1800)
    assert Check.CLOCK in examined.found()
    examined.pass_time(1801)
    assert examined.found() == {}
    examined.clock -= 60
    assert "back by 60 s" in examined.found()[Check.CLOCK]


def test_a_clock_that_drifts_slowly_was_not_set(examined: Examined) -> None:
    for _ in range(100):
        examined.pass_time(60)
        examined.clock += 0.03
        assert examined.watch.look() == 0


def test_a_clock_that_nothing_keeps_is_red(examined: Examined) -> None:
    examined.kernel = KernelClock(synchronised=False, error_s=16)
    assert "nothing keeps" in examined.found()[Check.CLOCK]
    examined.kernel = KernelClock(synchronised=True, error_s=5)
    assert "off by 5.0 s" in examined.found()[Check.CLOCK]
    examined.kernel = None
    assert examined.found() == {}


def test_the_kernel_says_something_of_its_clock() -> None:
    said = kernel_clock()
    assert said is None or (isinstance(said.synchronised, bool) and said.error_s >= 0)
    assert said is not None or sys.platform != "linux"


def test_a_full_disk_is_red(examined: Examined) -> None:
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        report = examined.report()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [each.check for each in report.findings] == [Check.DATABASE]
    assert "Free disk space" in report.findings[0].remedy
    assert not report.ready
    assert examined.report().healthy


def test_a_disk_with_little_room_is_red(tmp_path: Path) -> None:
    assert disk(tmp_path, least_bytes=1) == []
    assert "MiB are free" in disk(tmp_path, least_bytes=2**62)[0].reason
    assert "not to be had" in disk(tmp_path / "gone")[0].reason


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_a_read_only_database_is_red(examined: Examined) -> None:
    """The state folder is mounted read-only, in a name space of its own, and examined there."""
    if not shutil.which("unshare") or _run("unshare", "-rm", "true").returncode:
        pytest.skip("this system lets nobody make a mount name space")
    examined.authority.store.close()
    state, code = os.fspath(examined.site.folder), "from authority.cli import main; main()"
    examine = f'exec "{sys.executable}" -c "{code}" health --state "$1" --json'

    def found(script: str) -> dict[str, str]:
        done = _run("unshare", "-rm", "sh", "-c", script, "sh", state)
        assert done.returncode == 1, done.stderr
        return {each["check"]: each["reason"] for each in json.loads(done.stdout)["findings"]}

    database = found(f'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && {examine}')
    assert "read" in database["database"] and "only" in database["database"]


def test_a_stopped_authority_whose_database_can_be_written_is_only_stopped(examined: Examined) -> None:
    store, kernel = examined.authority.store, KernelClock(synchronised=True, error_s=0)
    report = examine_stopped(examined.site, [], store.run, examined.clock, lambda: kernel)
    assert [each.check for each in report.findings] == [Check.SERVING]


async def _a_database_that_hangs_is_red_and_asked_once(examined: Examined) -> None:
    release, store = threading.Event(), examined.authority.store
    held = asyncio.ensure_future(store.arun(lambda conn: release.wait(20)))
    monitor = examined.monitor(answer_s=0.05)
    try:
        for _ in range(3):
            report = await monitor.report()
            assert [each.check for each in report.findings] == [Check.DATABASE]
        assert store._writer._work_queue.qsize() == 1
    finally:
        release.set()
        await held
    while not (await monitor.report()).healthy:
        await asyncio.sleep(0)


def test_a_database_that_hangs_is_red_and_asked_once(examined: Examined) -> None:
    asyncio.run(_a_database_that_hangs_is_red_and_asked_once(examined))


def test_a_stuck_sink_is_red_with_what_it_said_last(examined: Examined) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store, sink = examined.authority.store, TcpSink("127.0.0.1", port)
    to, now = Destination("siem", sink), lambda: examined.clock
    pump = AlertPump(store.run, [to], Origin("h"), now, pause_s=1.0)
    store.run(lambda conn: raise_alert(conn, "critical", "node-isolated", None, "n1 is isolated", {}, examined.clock))
    with pytest.raises(SinkError):
        pump.pump(to)
    of = examined.authority
    subject = Subject(of.site, store, of.runtime.kek, ["siem"], examined.watch, examined.pulse, now, lambda: None)
    assert asyncio.run(HealthMonitor(subject).report()).healthy
    examined.pass_time(301)
    report = asyncio.run(HealthMonitor(subject).report())
    assert [each.check for each in report.findings] == [Check.SINKS]
    assert "alerts wait for siem" in report.findings[0].reason and "refused" in report.findings[0].reason
    assert not report.healthy and report.ready


def test_two_persons_that_are_asked_for_and_are_not_there_are_red(examined: Examined) -> None:
    """Decision 0082: whoever is not named is nobody's second person, and a site that comes to it has to hear of it."""
    of = examined.authority
    two = msgspec.structs.replace(of.runtime.policy, version="two", approvals=ApprovalRules(persons=2))

    def put(name: str, scope: Scope, identity: str) -> None:
        given = (of.runtime, name, [scope], 3600.0, identity)
        of.store.run(lambda conn: create_operator_token(conn, *given))

    assert examined.report().healthy
    of.store.run(lambda conn: policies.note(conn, two, "authority", examined.clock))
    for number, identity in enumerate(("person:ann", "person:ann", "")):
        put(f"t{number}", Scope.APPROVE, identity)
    put("eyes", Scope.READ, "person:cy")
    report = examined.report()
    assert [each.reason for each in report.findings] == [
        "the policy asks for two persons, and credentials name 1 who may approve"
    ]
    assert report.ready
    put("bob", Scope.ADMIN, "person:bob")
    assert examined.report().healthy  # the control


def test_a_missing_key_of_the_keys_is_red(examined: Examined) -> None:
    file = examined.site.folder / "kek.key"
    content = file.read_bytes()
    file.unlink()
    report = examined.report()
    assert [each.check for each in report.findings] == [Check.KEYS]
    assert not report.ready and report.findings[0].remedy
    file.write_bytes(bytes(len(content)))
    file.chmod(0o600)
    assert "another key" in examined.found()[Check.KEYS]
    file.write_bytes(content)
    assert examined.report().healthy


async def _a_scheduler_that_hangs_is_red_until_it_sweeps(examined: Examined) -> None:
    """The scheduler's own beat, held up by a transaction that does not end."""
    release, store = threading.Event(), examined.authority.store
    watch = watch_over(examined.site, store, examined.authority.runtime, [])
    watch = watch.__class__(**{**vars(watch), "pulse": examined.pulse})
    held = asyncio.ensure_future(store.arun(lambda conn: release.wait(20)))
    beating = asyncio.create_task(beat(examined.authority, Hub(), watch))
    try:
        await asyncio.sleep(0.05)
        examined.steady += 14
        assert examined.pulse.findings() == []
        examined.steady += 2
        assert "has not swept for 16 s" in examined.pulse.findings()[0].reason
        release.set()
        until = time.monotonic() + 20
        while examined.pulse.findings() and time.monotonic() < until:
            await asyncio.sleep(0.01)
        assert examined.pulse.findings() == []
    finally:
        release.set()
        beating.cancel()
        await asyncio.gather(held, beating, return_exceptions=True)


def test_a_scheduler_that_hangs_is_red_until_it_sweeps(examined: Examined) -> None:
    asyncio.run(_a_scheduler_that_hangs_is_red_until_it_sweeps(examined))
