"""One node put together from its configuration: state, devices, enclave, identity."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from agent.clocks import StoppableClock
from agent.config import Config
from agent.devices import Devices, configured_pins
from agent.enclave import EnclaveGate
from agent.extension import Modality
from agent.identity import IdentityStore
from agent.joining import Joining, anonymous_connector
from agent.link import Link
from agent.measuring import Measurer, code_digest
from agent.modalities import load_modalities
from agent.openings import OpeningStore
from agent.profile import ProfileVault
from agent.state import StateDirectory


@dataclass(frozen=True)
class Node:
    """What every command works with; `abort` ends the waits of its clock."""

    config: Config
    state: StateDirectory
    devices: Devices
    modalities: Mapping[str, Modality]
    gate: EnclaveGate
    store: IdentityStore
    vault: ProfileVault
    clock: StoppableClock
    abort: threading.Event

    @classmethod
    def of(cls, config: Config) -> Node:
        """The node of `config`; makes its state directory. Raises `StateError`, `ConfigError`, and `DeviceError`."""
        abort = threading.Event()
        clock = StoppableClock(abort)
        state = StateDirectory.open(config.state_dir)
        modalities = load_modalities(config)
        devices = Devices(config, modalities)
        gate = EnclaveGate(state, devices.open_enclave, clock)
        store, vault = IdentityStore(state), ProfileVault(state, os.urandom)
        return cls(config, state, devices, modalities, gate, store, vault, clock, abort)

    @property
    def openings(self) -> OpeningStore:
        """Openings of commitments that this node keeps."""
        return OpeningStore(self.state.openings, os.urandom, time.time)

    def joining(self) -> Joining:
        """Joins the configured authority."""
        connect = anonymous_connector(self.config.node.authority, self.config.connection)
        return Joining(self.config, self.devices, self.gate, self.store, time.time, connect)

    @contextmanager
    def link_scope(self) -> Iterator[Link]:
        """The link of one command, closed afterwards; an expired certificate is renewed first."""
        link = self.link()
        try:
            if link.certificate.not_after <= time.time():
                link.renew()
            yield link
        finally:
            link.close()

    def measurer(self) -> Measurer:
        """Measures the agent that runs; raises `NotFound`."""
        return Measurer(self.state.measured, code_digest(configured_pins(self.config).values()))

    def link(self) -> Link:
        """The connection of a node that has joined; raises `NotJoined`."""
        return Link(self.store, self.joining(), self.config.connection)
