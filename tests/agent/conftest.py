"""A real TPM simulator for the agent's tests: one manufactured identity a session, a fresh copy per test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.clocks import StoppableClock
from agent.enclave import EnclaveGate
from agent.state import StateDirectory
from drivers.tpm2 import Tpm2Driver
from simulators.devices.swtpm import Swtpm, SwtpmFactory, SwtpmState
from tests.agent.world import Tpm


@pytest.fixture(scope="session")
def tpm_factory(tmp_path_factory: pytest.TempPathFactory) -> SwtpmFactory:
    return SwtpmFactory(tmp_path_factory.mktemp("tpms"))


@pytest.fixture(scope="session")
def tpm_state(tpm_factory: SwtpmFactory) -> SwtpmState:
    return tpm_factory.manufacture("first")


@pytest.fixture
def tpm(tpm_state: SwtpmState, tmp_path: Path) -> Iterator[Tpm]:
    with Swtpm(tpm_state.copy(tmp_path / "tpm")) as swtpm:
        yield Tpm(swtpm, Tpm2Driver())


@pytest.fixture
def other_tpm(tmp_path: Path) -> Iterator[Tpm]:
    """A TPM with another identity and no certificate."""
    (tmp_path / "other").mkdir(mode=0o700)
    with Swtpm(tmp_path / "other") as swtpm:
        yield Tpm(swtpm, Tpm2Driver())


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory.open(tmp_path / "state")


@pytest.fixture
def gate(state: StateDirectory, tpm: Tpm) -> EnclaveGate:
    return EnclaveGate(state, tpm.open, StoppableClock(threading.Event()))
