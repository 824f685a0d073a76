"""Refreshing a profile in two phases: after it the old blob with its old share signs nothing, and no crash ends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent import durable
from agent.enclave import EnclaveGate
from agent.errors import ProfileError, StateError
from agent.profile import ProfileVault, Unlocked
from agent.state import StateDirectory
from hal import AuthorisationFailed, Enclave
from protocol.release import ReleasedShares
from tests.agent.sealing import RECORD, Node, probes


class PowerLoss(BaseException):
    """The machine stops here: nothing catches it."""


@pytest.fixture
def node(gate: EnclaveGate, state: StateDirectory) -> Node:
    made = Node(gate, state, ProfileVault(state, os.urandom))
    made.enrol()
    return made


def versions(node: Node) -> list[str]:
    return sorted(path.name for path in node.state.profiles.glob("*.record"))


def signs(node: Node, attempts: list[Unlocked]) -> int:
    """How many of the roots the enclave takes."""
    taken = 0
    with node.gate.use() as enclave:
        for attempt in attempts:
            try:
                attempt.sign(enclave, bytes(32))
                taken += 1
            except AuthorisationFailed:
                continue
    return taken


def test_every_presentation_moves_the_profile_to_the_next_share(node: Node) -> None:
    assert [node.present() for _ in range(3)] == [2, 3, 4]
    assert versions(node) == [f"{RECORD}.4.record"]
    assert [*node.holder.shares] == [4]


def test_the_same_key_signs_before_and_after(node: Node) -> None:
    before = node.vault.header(RECORD).key
    node.present()
    assert node.vault.header(RECORD).key == before
    assert node.unlock() is not None


def test_an_old_copy_of_the_disk_with_its_old_share_opens_nothing_that_signs(node: Node, tmp_path: Path) -> None:
    """The record opens to who holds the share of then, and the person's root comes out: the enclave refuses it."""
    old_shares = ReleasedShares(number=1, present=node.holder.both.present)
    shutil.copytree(node.state.profiles, tmp_path / "copy")
    node.present()
    shutil.rmtree(node.state.profiles)
    shutil.copytree(tmp_path / "copy", node.state.profiles)
    profile = node.open(old_shares)
    attempts = profile.attempts(probes(), frozenset({"fingerprint"}))
    assert attempts and signs(node, attempts) == 0


def test_without_the_refresh_that_copy_would_sign(node: Node, tmp_path: Path) -> None:
    """Negative control of the test above: what it refuses, it refuses for the refresh."""
    old_shares = ReleasedShares(number=1, present=node.holder.both.present)
    shutil.copytree(node.state.profiles, tmp_path / "copy")
    found = node.unlock()
    assert found is not None
    node.vault.accept(found[0].version, {})
    shutil.rmtree(node.state.profiles)
    shutil.copytree(tmp_path / "copy", node.state.profiles)
    assert signs(node, node.open(old_shares).attempts(probes(), frozenset())[:1]) == 1


def test_an_old_record_does_not_open_with_the_new_share_nor_the_new_one_with_the_old(
    node: Node, tmp_path: Path
) -> None:
    old = node.holder.both.present
    shutil.copytree(node.state.profiles, tmp_path / "copy")
    node.present()
    with pytest.raises(ProfileError):
        node.open(ReleasedShares(number=2, present=old))
    shutil.copy(tmp_path / "copy" / f"{RECORD}.1.record", node.state.profiles)
    with pytest.raises(ProfileError):
        node.open(ReleasedShares(number=1, present=node.holder.both.present))


def test_without_a_further_share_nothing_moves_and_the_node_says_which_it_uses(node: Node) -> None:
    """After an answer that the authority did not take: it still hands out the shares of before."""
    kept = node.holder.both
    node.present()
    found = node.unlock()
    assert found is not None
    with node.gate.use() as enclave:
        assert node.vault.refresh(enclave, found[0], kept, {}) == 2
    assert versions(node) == [f"{RECORD}.2.record"]


def test_what_was_captured_is_remembered_across_refreshes(node: Node) -> None:
    node.present(face=b"first")
    node.present(face=b"second")
    assert node.open().past == {"face": [b"first", b"second"]}


# What a crash leaves, at every step that writes.


@contextmanager
def stopping(monkeypatch: pytest.MonkeyPatch, at: int, *, before: bool) -> Iterator[list[str]]:
    """Power fails right before or right after durable step `at` (from 0); gives the steps that were taken."""
    steps: list[str] = []

    def counted(name: str, work: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: object) -> None:
            number = len(steps)
            if number == at and before:
                raise PowerLoss
            steps.append(name)
            work(*arguments)
            if number == at:
                raise PowerLoss

        return step

    from agent.profile import _files, _key, _past, _vault

    write, drop = counted("write", durable.write_private), counted("remove", durable.remove)
    monkeypatch.setattr(_vault, "write_private", write)
    monkeypatch.setattr(_past, "write_private", write)
    monkeypatch.setattr(_files, "remove", drop)
    move = _key.ProfileKey.move
    monkeypatch.setattr(_key.ProfileKey, "move", counted("move", move))
    yield steps
    monkeypatch.undo()


STEPS = ["write", "write", "write", "write", "move", "remove", "remove"]
"""Past and counter of the version in force; past and record of the next one; the enclave's PIN; two files that go."""


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", range(len(STEPS)))
def test_a_power_loss_at_any_step_leaves_one_root_that_signs(
    node: Node, monkeypatch: pytest.MonkeyPatch, at: int, before: bool
) -> None:
    shares = node.holder.both
    with stopping(monkeypatch, at, before=before) as steps, pytest.raises(PowerLoss):
        node.present(face=b"seen")
    assert steps == STEPS[: at + (not before)]
    node.vault = ProfileVault(node.state, os.urandom)
    profile = node.open(shares)
    assert (
        signs(node, [version_attempts[0] for version_attempts in _by_version(profile.attempts(probes(), frozenset()))])
        == 1
    )
    node.present()
    assert node.present() in {3, 4}
    assert len(versions(node)) == 1


def _by_version(attempts: list[Unlocked]) -> list[list[Unlocked]]:
    numbers = sorted({one.version.header.share for one in attempts})
    return [[one for one in attempts if one.version.header.share == number] for number in numbers]


def test_the_steps_of_a_presentation_are_these(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above misses none."""
    with stopping(monkeypatch, 99, before=True) as steps:
        node.present()
        assert steps == STEPS


def test_a_digest_on_disk_before_the_power_failed_is_not_forgotten(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(1, len(STEPS)):
        with stopping(monkeypatch, at, before=True), pytest.raises(PowerLoss):
            node.present(face=bytes([at]) * 8)
        assert bytes([at]) * 8 in node.open().versions[-1].past["face"]


def test_a_full_disk_keeps_the_old_version_in_force(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.profile import _vault

    found = node.unlock()
    assert found is not None
    node.vault.accept(found[0].version, {})

    def full(*_: object) -> None:
        raise StateError("no space")

    monkeypatch.setattr(_vault, "write_private", full)
    with node.gate.use() as enclave, pytest.raises(StateError):
        node.vault.refresh(enclave, found[0], node.holder.both, {})
    monkeypatch.undo()
    assert versions(node) == [f"{RECORD}.1.record"]
    assert node.present() == 2


def test_a_refresh_does_not_need_the_guard_twice(node: Node) -> None:
    """A wrong root moves nothing: the PIN is changed by answering it."""
    wrong = node.open().attempts(probes(2), frozenset())[0]

    def move(enclave: Enclave) -> None:
        node.vault.header(RECORD).key.move(enclave, wrong.root, bytes(32))

    with node.gate.use() as enclave, pytest.raises(AuthorisationFailed):
        move(enclave)
    assert node.unlock() is not None
