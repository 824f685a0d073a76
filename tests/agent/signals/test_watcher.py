"""The node's own watcher: parsers, thresholds, sending; and a real packet filter in a namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agent.client import AuthorityClient
from agent.config import parse_config
from agent.errors import AgentError, ConfigError
from agent.identity import pinned_context
from agent.signals import ConntrackSection, CounterSection, NetworkWatcher, SignalsSection, build_watcher
from agent.signals.counters import CountersUnreadable, growth, parse_counters
from agent.signals.flows import Flow, fan_out, unanswered
from protocol.codec import decode
from protocol.problems import ErrorCode
from protocol.signals import Severity, SignalOutcome, SignalReceipt, SignalReport
from tests.agent.scripted_authority import Refusal, ScriptedAuthority, served
from tests.agent.test_config import COMPLETE

NODE = "ab" * 32
DROPS = CounterSection(table="keyvigil", name="dropped", kind="drops", packets=5)
LINES = [
    "ipv4     2 tcp      6 118 SYN_SENT src=10.7.0.1 dst=10.7.0.9 sport=40001 dport=22 [UNREPLIED] src=10.7.0.9 "
    "dst=10.7.0.1 sport=22 dport=40001 mark=0 zone=0 use=2",
    "ipv4     2 udp      17 29 src=10.7.0.1 dst=10.7.0.9 sport=33639 dport=99 [UNREPLIED] src=10.7.0.9 dst=10.7.0.1 "
    "sport=99 dport=33639 mark=0 zone=0 use=2",
    "ipv4     2 tcp      6 431999 ESTABLISHED src=10.7.0.1 dst=10.7.0.2 sport=40002 dport=443 src=10.7.0.2 "
    "dst=10.7.0.1 sport=443 dport=40002 [ASSURED] mark=0 zone=0 use=2",
    "ipv6     10 tcp      6 100 SYN_SENT src=fd00::2 dst=fd00::1 sport=1 dport=22 [UNREPLIED] src=fd00::1 dst=fd00::2 "
    "sport=22 dport=1 mark=0 zone=0 use=2",
]


def listing(packets: int, name: str = "dropped") -> bytes:
    counter = {"family": "inet", "name": name, "table": "keyvigil", "handle": 1, "packets": packets, "bytes": 90}
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, {"counter": counter}]}).encode()


def watcher(settings: SignalsSection, outputs: Sequence[bytes] = ()) -> NetworkWatcher:
    said = iter(outputs)
    return NetworkWatcher(settings, NODE, lambda _: next(said), lambda: 1_700_000_000.0, os.urandom)


def kinds(made: NetworkWatcher) -> list[tuple[str, str]]:
    return [(each.kind, each.node) for each in made.waiting]


def test_counters_are_read_as_nft_prints_them() -> None:
    assert parse_counters(listing(3)) == {("inet", "keyvigil", "dropped"): 3}


@pytest.mark.parametrize("output", [b"", b"[]", b'{"nftables": 3}', listing(3)[:-9], listing(-1), b"[" * 100_000])
def test_what_is_no_list_of_counters_is_refused(output: bytes) -> None:
    with pytest.raises(CountersUnreadable) as refused:
        parse_counters(output)
    assert "CAP_NET_ADMIN" in refused.value.remedy


def test_growth_begins_with_the_second_look_and_survives_a_reset() -> None:
    assert [growth(None, 900), growth(900, 903), growth(900, 4)] == [0, 3, 4]


def test_a_counter_that_grows_by_enough_is_a_signal() -> None:
    made = watcher(SignalsSection(counters=[DROPS]), [listing(each) for each in (100, 104, 109)])
    made.look()
    made.look()
    assert not made.waiting
    made.look()
    (report,) = made.waiting
    assert (report.node, report.kind, report.severity) == (NODE, "drops", Severity.MEDIUM)
    assert report.ttl == 3600


def test_a_counter_that_is_not_there_is_said_and_the_other_source_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "nf_conntrack"
    table.write_text("\n".join(LINES))
    rules = ConntrackSection(path=str(table), local=["10.7.0.1"], fan_out=2)
    made = watcher(SignalsSection(counters=[DROPS], conntrack=rules), [listing(3, "another")])
    with caplog.at_level("ERROR", "keyvigil"):
        made.look()
    assert "nftables cannot be watched" in caplog.text
    assert kinds(made) == [("scan", NODE)]


def test_flows_without_an_answer() -> None:
    assert [*unanswered(LINES)] == [
        Flow("10.7.0.1", "10.7.0.9", 22),
        Flow("10.7.0.1", "10.7.0.9", 99),
        Flow("fd00::2", "fd00::1", 22),
    ]
    assert fan_out(unanswered([*LINES, *LINES])) == {"10.7.0.1": 2, "fd00::2": 1}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[UNREPLIED]",
        "ipv4 2 icmp 1 29 src=10.7.0.1 dst=10.7.0.9 type=8 code=0 id=1 [UNREPLIED]",
        "ipv4 2 tcp 6 118 SYN_SENT src=here dst=10.7.0.9 dport=22 [UNREPLIED]",
        "ipv4 2 tcp 6 118 SYN_SENT src=10.7.0.1 dst=10.7.0.9 dport=\u0662 [UNREPLIED]",
        "ipv4 2 tcp 6 118 SYN_SENT src=10.7.0.1 dst=10.7.0.9 dport=22 [UNREPLIED]" + " x=1" * 500,
    ],
)
def test_lines_of_another_form_are_passed_over(line: str) -> None:
    assert [*unanswered([line])] == []


def test_a_scan_from_elsewhere_is_told_of_its_address(tmp_path: Path) -> None:
    table = tmp_path / "nf_conntrack"
    table.write_text("\n".join(LINES))
    rules = ConntrackSection(path=str(table), local=["10.7.0.2"], fan_out=2)
    made = watcher(SignalsSection(conntrack=rules))
    made.look()
    assert kinds(made) == [("scan", "10.7.0.1")]


def test_the_command_is_run_where_the_kernel_has_no_file(tmp_path: Path) -> None:
    rules = ConntrackSection(path=str(tmp_path / "none"), local=["10.7.0.1"], fan_out=2)
    made = watcher(SignalsSection(conntrack=rules), ["\n".join(LINES).encode()])
    made.look()
    assert kinds(made) == [("scan", NODE)]


def sent(authority: ScriptedAuthority) -> list[SignalReport]:
    return [decode(body, SignalReport) for body in authority.seen("/v1/signals")]


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[ScriptedAuthority]:
    with served(tmp_path) as found:
        yield found


@pytest.fixture
def client(authority: ScriptedAuthority) -> Iterator[AuthorityClient]:
    with AuthorityClient(authority.url, pinned_context(authority.ca.pem), 5.0) as made:
        yield made


def test_what_waits_is_sent_once(authority: ScriptedAuthority, client: AuthorityClient) -> None:
    authority.on("POST", "/v1/signals", lambda _: SignalReceipt(ref="r", outcome=SignalOutcome.RECORDED))
    made = watcher(SignalsSection(counters=[DROPS]), [listing(0), listing(9)])
    made.look()
    made.look()
    made.send(client)
    made.send(client)
    (report,) = sent(authority)
    assert report.kind == "drops"
    assert not made.waiting


def test_a_refused_report_is_dropped_and_an_unheard_one_kept(
    authority: ScriptedAuthority, client: AuthorityClient
) -> None:
    made = watcher(SignalsSection(counters=[DROPS]), [listing(each) for each in (0, 9, 18)])
    made.look()
    made.look()

    def busy(_: bytes) -> object:
        raise Refusal(429, ErrorCode.TOO_MANY_TRIES)

    def stranger(_: bytes) -> object:
        raise Refusal(404, ErrorCode.NOT_FOUND)

    authority.on("POST", "/v1/signals", busy)
    made.send(client)
    assert len(made.waiting) == 1
    authority.on("POST", "/v1/signals", stranger)
    made.send(client)
    assert not made.waiting


def test_what_cannot_be_sent_is_bounded() -> None:
    made = watcher(SignalsSection(counters=[DROPS]), [listing(each * 9) for each in range(400)])
    for _ in range(400):
        made.look()
    assert len(made.waiting) == 256


def test_the_section_is_read_and_its_mistakes_are_named() -> None:
    text = COMPLETE + '[signals]\n[[signals.counters]]\ntable = "keyvigil"\nname = "dropped"\nkind = "drops"\n'
    section = parse_config(text.encode()).signals
    assert section is not None
    assert section.counters[0].packets == 10
    assert build_watcher(section, NODE, lambda: 0.0, threading.Event()) is not None
    with pytest.raises(ConfigError, match=r"signals\.counters\[0\]\.kind"):
        parse_config(text.replace('"drops"', '"Drops!"').encode())
    assert parse_config(COMPLETE.encode()).signals is None
    assert build_watcher(None, NODE, lambda: 0.0, threading.Event()) is None


class Namespace:
    """A network namespace with a packet filter that drops one port, for as long as its process lives."""

    def __init__(self, holder: subprocess.Popen[bytes]) -> None:
        self.pid = holder.pid

    def enter(self, *argv: str) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-n", *argv]

    def run(self, *argv: str) -> None:
        done = subprocess.run(self.enter(*argv), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    def knock(self, ports: range) -> None:
        code = "import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
        code += f"for port in range({ports.start},{ports.stop}):\n  s.sendto(b'x',('10.7.0.1',port))\n"
        self.run(sys.executable, "-c", code)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    missing = [tool for tool in ("nft", "nsenter", "unshare", "ip") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no packet filter to watch: apt-get install nftables iproute2 ({', '.join(missing)} missing)")
    command = ["unshare", "-n", "sh", "-c", "ip link set lo up && echo y && exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as holder:
        try:
            assert holder.stdout is not None
            if holder.stdout.readline() != b"y\n":
                pytest.skip("this user cannot make a network namespace: run as root")
            made = Namespace(holder)
            rules = (
                "add table inet keyvigil; add counter inet keyvigil dropped;"
                "add chain inet keyvigil in { type filter hook input priority 0; };"
                "add rule inet keyvigil in udp dport 9 counter name dropped drop;"
                "add rule inet keyvigil in ct state new accept"
            )
            if subprocess.run(made.enter("nft", rules), capture_output=True, check=False).returncode != 0:
                pytest.skip("this kernel has no nftables")
            made.run("ip", "address", "add", "10.7.0.1/32", "dev", "lo")
            yield made
        finally:
            holder.kill()


def test_a_real_packet_filter_s_drops_become_a_signal(namespace: Namespace) -> None:
    settings = SignalsSection(counters=[DROPS], nft=namespace.enter("nft"))
    made = build_watcher(settings, NODE, lambda: 1.0, threading.Event())
    assert made is not None
    made.look()
    namespace.knock(range(9, 10))
    made.look()
    assert not made.waiting
    for _ in range(6):
        namespace.knock(range(9, 10))
    made.look()
    assert kinds(made) == [("drops", NODE)]


def test_a_real_scan_is_seen_in_connection_tracking(namespace: Namespace) -> None:
    table = Path(f"/proc/{namespace.pid}/net/nf_conntrack")
    if not table.exists():
        pytest.skip("this kernel has no /proc/net/nf_conntrack")
    rules = ConntrackSection(path=str(table), local=["10.7.0.1"], fan_out=20)
    made = build_watcher(SignalsSection(conntrack=rules), NODE, lambda: 1.0, threading.Event())
    assert made is not None
    namespace.knock(range(1000, 1010))
    made.look()
    assert not made.waiting
    namespace.knock(range(2000, 2020))
    made.look()
    assert kinds(made) == [("scan", NODE)]


def test_conntrack_itself_says_the_same(namespace: Namespace) -> None:
    if shutil.which("conntrack") is None:
        pytest.skip("no conntrack: apt-get install conntrack")
    namespace.knock(range(1000, 1030))
    command = namespace.enter("conntrack", "-L", "-o", "extended")
    rules = ConntrackSection(path="/nowhere/nf_conntrack", command=command, local=["10.7.0.1"], fan_out=20)
    made = build_watcher(SignalsSection(conntrack=rules), NODE, lambda: 1.0, threading.Event())
    assert made is not None
    made.look()
    assert kinds(made) == [("scan", NODE)]


def test_a_filter_that_cannot_be_asked_is_an_error_with_a_remedy() -> None:
    made = build_watcher(SignalsSection(counters=[DROPS], nft=["false"]), NODE, lambda: 1.0, threading.Event())
    assert made is not None
    with pytest.raises(AgentError, match="status 1"):
        [*made._counted()]
