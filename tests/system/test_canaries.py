"""A whole life of a profile, and every secret and sample of it looked for wherever it could have been left.

Enrolment, an accepted and a failed challenge and erasure run with `spying.py`'s eyes in the agent's processes, so that
samples, features, embeddings, roots, PINs and shares are known exactly; then disks, databases, logs and the plaintext
of TLS are searched. What is said to be wiped is looked for in the memory of an agent without such eyes.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from protocol.tokens import parse_join_token, parse_ticket
from simulators.lab.processes import Child
from simulators.lab.world import Node, World, wait_for
from tests.security.broken import NOTICED
from tests.system import spying
from tests.system.conftest import IMPOSTOR, PERSON, POLICY, QUICK
from tests.system.harness import Site, secret_file
from tests.system.needles import DigitsNeedle, Needle, files_below, leaks, worth_looking_for
from tests.system.test_secrets import HANDED_OVER, SPARED

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(1200)]

PATIENT = POLICY.replace("activation_s = 12", "activation_s = 90")
SETTINGS = {**QUICK, "presentation": {"deadline_margin_s": 3, "failure_at_s": 60}}
MOST = 4
"""Values of one name that are looked for: captures are many."""
EXPECTED = {
    "root", "authorisation value", "PIN of the TPM", "pepper", "release share", "key of the past",
    "helper data of the face",
    "template of the fingerprint", "embedding of the face", "embedding of the voice",
    *(f"features of the {name}" for name in ("face", "voice", "fingerprint")),
    *(f"sample of the {name}, part 0" for name in ("face", "voice", "fingerprint")),
}  # fmt: skip
MAY_CARRY = re.compile(rb"^(POST|PUT) /v1/(join|enrolments)")
"""Requests in whose fields tokens, tickets and PINs are meant to travel."""


@dataclass
class Life:
    """What is left of one profile's life, and what was met in it."""

    site: Site
    folder: Path
    ended: list[str] = field(default_factory=list)
    memory: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def node(self) -> Node:
        return self.site.world.nodes[0]

    @property
    def met(self) -> dict[str, list[bytes]]:
        """What was noted, by name, each value once."""
        found: dict[str, dict[bytes, None]] = {}
        for line in (self.folder / "notes").read_text().splitlines():
            told = json.loads(line)
            found.setdefault(told["name"].strip(), {})[bytes.fromhex(told["hex"])] = None
        return {name: [*values] for name, values in found.items()}

    def wire(self, direction: str) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self.folder / "wire").glob(f"*-{direction}"))]

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, spying.__file__, str(self.folder), *arguments, "--config", str(self.node.config)]


@pytest.fixture(scope="module")
def life(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    (folder / "life").mkdir()
    with World(folder / "life", ["node-l"], PATIENT, None, SETTINGS) as world:
        world.raise_authority()
        world.raise_station(world.nodes[0])
        made = Life(Site(world), tmp_path_factory.mktemp("spy"))
        live(made)
        yield made


def live(life: Life) -> None:
    """Join and enrol, be accepted by three kinds of agent, fail, be erased."""
    node, agent, record = life.node, life.node.agent, enrolled(life)
    for kind, argv in {
        "nobody watched": agent.argv,
        "kept and not wiped": life.argv("--kept", "--unwiped", "agent", "run"),
        "kept": life.argv("--kept", "agent", "run"),
    }.items():
        agent.stop()
        agent.argv = argv
        life.site.world.start_agent(node)
        answered(life, PERSON)
        life.memory[kind] = memory_of(agent.pid)
    answered(life, IMPOSTOR)
    life.site.operator.post(f"/v1/profiles/{record}/erase")
    wait_for("the erasure", lambda: life.site.node(node.name)["profiles"][0]["state"] == "erased" or None, 60, agent)


def enrolled(life: Life) -> str:
    """The approved record of a node that has joined, by watched commands."""
    node, site = life.node, life.site
    run(life, "join", "--token-file", str(secret_file(node.folder / "join.token", site.token(node.name))))
    site.operator.post("/v1/networks/lab/members", {"node": node.name, "address": "10.77.0.1"})
    node.send(PERSON)
    ticket, pin = site.ticket(node.admin, node.name)
    files = [secret_file(node.folder / name, text) for name, text in (("ticket", ticket), ("pin", pin))]
    secrets = ["--ticket-file", str(files[0]), "--pin-file", str(files[1])]
    run(life, "enroll", "--admin", node.admin, "--accept-consent", *secrets)
    record = str(site.node(node.name)["profiles"][0]["record_id"])
    site.operator.post(f"/v1/profiles/{record}/approve")
    return record


def run(life: Life, name: str, *options: str) -> None:
    log = life.node.folder / f"{name}.log"
    child = Child(f"keyvigil {name}", life.argv(name, *options), log, env=life.node.environment()).start()
    wait_for(f"the end of keyvigil {name}", lambda: child.process and child.process.poll(), 180)
    assert child.process is not None
    assert child.process.returncode == 0, log.read_text()


def answered(life: Life, person: str) -> None:
    """A challenge before this person has ended; a busy machine may need a second try to accept the right one."""
    site, node = life.site, life.node
    node.send(person)
    wait_for("the agent's connection", lambda: site.connections() == 1 or None, 60, node.agent)
    for _ in range(5):
        life.ended.append(site.ended(node.name, site.challenge(node.name), 240))
        if person == IMPOSTOR or life.ended[-1] == "accepted":
            return


def memory_of(pid: int) -> bytes:
    """What a process may write to, as gcore takes it with root's powers; mappings that go meanwhile are left out."""
    found = []
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                place, mode = line.split()[:2]
                begin, end = (int(each, 16) for each in place.split("-"))
                if mode.startswith("rw"):
                    with suppress(OSError):
                        memory.seek(begin)
                        found.append(memory.read(end - begin))
    except PermissionError:
        pytest.skip("reading another process's memory needs CAP_SYS_PTRACE")
    return b"".join(found)


def needles(met: dict[str, list[bytes]]) -> list[Needle]:
    """Of each name the first values and the last ones that are worth looking for."""
    found = []
    for name, values in met.items():
        kind = Needle.of_bytes
        if name.startswith("features"):
            kind = Needle.of_vector
        elif name.startswith("embedding"):
            kind = Needle.of_embedding
        worth = [value for value in values if worth_looking_for(value)]
        found += [kind(name, value) for value in dict.fromkeys([*worth[:MOST], *worth[-MOST:]])]
    return found


def handed_over(life: Life) -> list[Needle]:
    """Secrets that were given to somebody on purpose."""
    token, ticket, pin = ((life.node.folder / name).read_text().strip() for name in HANDED_OVER)
    return [
        Needle.of_text("the join token", token),
        Needle.of_bytes("the join token's secret", parse_join_token(token).secret),
        Needle.of_text("the ticket", ticket),
        Needle.of_bytes("the ticket's secret", parse_ticket(ticket).secret),
        DigitsNeedle("the PIN", [pin.encode()]),
    ]


def requests(wires: Sequence[bytes]) -> list[bytes]:
    """What was sent, cut before each request."""
    return [part for wire in wires for part in re.split(rb"(?=(?:GET|POST|PUT|DELETE) /v1/)", wire) if part]


@pytest.fixture(scope="module")
def all_needles(life: Life) -> list[Needle]:
    operator = (life.site.authority.state / "operator.token").read_text().strip()
    return [*needles(life.met), *handed_over(life), Needle.of_text("the operator's token", operator)]


def test_the_life_was_whole_and_everything_was_met(life: Life, all_needles: list[Needle]) -> None:
    assert Counter(life.ended)["accepted"] == 3, life.ended
    assert life.ended[-1] == "failed"
    assert {needle.name for needle in all_needles} >= EXPECTED
    assert len(life.met["root"]) >= 3


def test_nothing_is_left_on_the_disks(life: Life, all_needles: list[Needle]) -> None:
    """Both disks: state, database with its journal, logs, alerts, folders for what is temporary."""
    places = {path.name for path, _ in files_below(life.site.world.folder, SPARED)}
    assert {"authority.db", "authority.db-wal", "agent.log", "authority.log", "enroll.log", "timings.jsonl"} <= places
    assert leaks(all_needles, files_below(life.site.world.folder, SPARED)) == []


def test_erasure_leaves_no_file_of_the_profile(life: Life) -> None:
    assert [path for path, _ in files_below(life.node.folder / "state" / "profiles")] == []


def test_nothing_is_on_the_wire_but_where_it_is_meant_to_be(life: Life, all_needles: list[Needle]) -> None:
    """Neither in what the agent sent nor in what came; tokens, ticket and PIN travel to where they are redeemed."""
    others = [part for part in requests(life.wire("out")) if not MAY_CARRY.match(part)]
    assert len(others) > 3
    assert leaks(all_needles, enumerate(others)) == []
    assert leaks(all_needles, enumerate(life.wire("in"))) == []


def test_what_may_travel_is_found_where_it_travels(life: Life, all_needles: list[Needle]) -> None:
    """The control of the wire: its scanner reads plaintext; and neither may request carries anything else."""
    meant = [part for part in requests(life.wire("out")) if MAY_CARRY.match(part)]
    found = {line.rpartition(" in ")[0] for line in leaks(all_needles, enumerate(meant))}
    assert {"the join token", "the ticket", "the PIN"} <= found <= {needle.name for needle in handed_over(life)}


@pytest.mark.parametrize("kind", ["nobody watched", "kept"])
def test_what_is_said_to_be_wiped_is_gone_from_memory(life: Life, kind: str) -> None:
    """After a presentation: its root, PIN, authorisation value and pepper, also where their memory is never freed."""
    assert leaks(wiped(life), iter([("memory", life.memory[kind])])) == []


def test_what_nobody_wipes_is_found_in_memory(life: Life) -> None:
    """The control: the same agent, whose `wipe` does nothing, still has them."""
    found = leaks(wiped(life), iter([("memory", life.memory["kept and not wiped"])]))
    assert {line.rpartition(" in ")[0] for line in found} == {*spying.WIPED}


def wiped(life: Life) -> list[Needle]:
    return [Needle(name, [value]) for name in spying.WIPED for value in life.met[name]]


@pytest.mark.parametrize("place", ["agent.log", "authority.db-wal", "record", "wire"])
def test_a_canary_is_found_wherever_it_is_planted(tmp_path: Path, all_needles: list[Needle], place: str) -> None:
    """The control: in each place, each needle in each of its forms."""
    forms = max(len(needle.forms) for needle in all_needles)
    for number in range(forms):
        planted = [needle.forms[number % len(needle.forms)] for needle in all_needles]
        (tmp_path / place).write_bytes(os.urandom(64) + b"\n".join(planted))
        found = leaks(all_needles, files_below(tmp_path))
        assert {line.rpartition(" in ")[0] for line in found} == {needle.name for needle in all_needles}
    with pytest.raises(NOTICED):
        assert leaks(all_needles, files_below(tmp_path)) == []
