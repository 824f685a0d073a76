"""Which checks a diagnosis is made of, and the locks under which they run."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

from agent.config import Config
from agent.diagnostics import authority, host, needs, sensors
from agent.diagnostics.enclave import ENCLAVE_S, EnclaveExam
from agent.diagnostics.findings import Finding, Severity
from agent.diagnostics.machine import Machine
from agent.diagnostics.running import Check, Note, Progress, run_checks
from agent.diagnostics.surveying import survey
from agent.diagnostics.targets import ENCLAVE, Target, configured_targets, found_targets
from agent.state import StateDirectory
from hal import Busy, Deadline, DeviceKind, NotFound, PermissionDenied

HOST_S = 10.0
SENSORS_WAIT_S = 2.0


@dataclass(frozen=True)
class Diagnosis:
    """One run of every check; `attended` tells whether somebody is there to put a finger."""

    config: Config | None
    machine: Machine
    attended: bool

    def run(self, progress: Progress) -> list[Finding]:
        """All findings; never raises for what is wrong with the node."""
        state = private_state(self.config)
        targets = self._targets(progress)
        enclaves = [target for target in targets if _is_enclave(target)]
        checks = [*self._surroundings(), *(self._enclave_check(target, state) for target in enclaves)]
        sensing = [self._sensor_check(target) for target in targets if target not in enclaves]
        with _sensors_held(state) as busy:
            found = run_checks(checks if busy else [*sensing, *checks], progress)
        none = [] if targets else [_nothing_attached()]
        return [*none, *([busy] if busy and sensing else []), *found]

    def _targets(self, progress: Progress) -> list[Target]:
        if self.config is not None:
            return configured_targets(self.config)
        return found_targets(survey({}, progress))

    def _surroundings(self) -> Iterator[Check]:
        yield Check("host", "host", HOST_S, lambda _deadline, _note: host.examine(self.machine, self.config))
        yield Check("packages", "packages", HOST_S, lambda _deadline, _note: _missing(self.machine))
        config = self.config
        if config is not None:
            seconds = authority.AUTHORITY_S
            yield Check("authority", "authority", seconds, lambda deadline, _note: authority.examine(config, deadline))

    def _enclave_check(self, target: Target, state: StateDirectory | None) -> Check:
        exam = EnclaveExam(self.machine)

        def run(deadline: Deadline, _note: Note) -> Iterator[Finding]:
            held: AbstractContextManager[None] = state.enclave_lock(deadline) if state else nullcontext()
            try:
                with held:
                    yield from exam.examine(target, deadline)
            except Busy as error:
                yield Finding("enclave.busy", Severity.WARNING, str(error), "Try again later.", target.subject)

        return Check(target.subject, f"driver {target.driver}", ENCLAVE_S, run)

    def _sensor_check(self, target: Target) -> Check:
        seconds = sensors.SENSOR_S * 2 + (sensors.FINGER_S + sensors.LIFT_S if self.attended else 0)

        def run(deadline: Deadline, note: Note) -> Iterator[Finding]:
            return sensors.examine(target, deadline, note, attended=self.attended)

        return Check(target.subject, f"driver {target.driver}", seconds, run)


def private_state(config: Config | None) -> StateDirectory | None:
    """The state directory, if it is there and this user's alone; else nothing in it is touched, not even a lock."""
    if config is None:
        return None
    try:
        found = config.state_dir.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    return StateDirectory(config.state_dir) if private and found.st_uid == os.geteuid() else None


@contextmanager
def _sensors_held(state: StateDirectory | None) -> Iterator[Finding | None]:
    """Hold the sensors against presentations; what is given tells that somebody else holds them."""
    busy = None
    with ExitStack() as stack:
        try:
            if state is not None:
                stack.enter_context(state.sensor_lock(Deadline.after(SENSORS_WAIT_S)))
        except Busy as error:
            busy = Finding("device.busy", Severity.WARNING, f"{error}: the sensors were not tested", "Try again later.")
        yield busy


def _is_enclave(target: Target) -> bool:
    """By its section or its driver; a driver that does not load is tested as a sensor, which says why."""
    if target.name == ENCLAVE:
        return True
    try:
        return target.kind() == DeviceKind.ENCLAVE
    except (NotFound, PermissionDenied, ImportError):
        return False


def _missing(machine: Machine) -> Iterator[Finding]:
    """What is not installed; without it some drivers are idle, which matters only to whoever has such a device."""
    for lack in needs.missing(machine):
        what = f"{lack.name} is not installed; it serves {lack.purpose}"
        yield Finding("host.packages", Severity.INFO, what, lack.remedy, "host")


def _nothing_attached() -> Finding:
    remedy = "Plug a device in, and see `keyvigil devices`; or pass --config to test what a node should have."
    return Finding("device.none", Severity.WARNING, "no driver sees a device", remedy)
