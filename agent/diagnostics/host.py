"""The machine beneath the agent: clock, disk, state directory, memory protection, kernel keyring."""

from __future__ import annotations

import ctypes
import os
import resource
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.config import Config
from agent.diagnostics import timesync
from agent.diagnostics.findings import Finding, Severity, failed
from agent.diagnostics.machine import Machine
from agent.sinks.xfrm.counters import MEANING, WORRYING, read_counters

SUBJECT = "host"
_PR_GET_DUMPABLE = 3
_MEBIBYTE = 1024 * 1024
_FULL_BYTES, _TIGHT_BYTES = 16 * _MEBIBYTE, 256 * _MEBIBYTE
_FEW_FILES = 1000
_QUOTA_SHARE = 0.8
_MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})


def examine(machine: Machine, config: Config | None) -> Iterator[Finding]:
    """Everything about the host; without a configuration there is no state directory to look at."""
    try:
        yield timesync.judge(timesync.kernel_clock(), machine)
    except OSError as error:
        yield failed("host.time", error, SUBJECT)
    yield judge_dumps(_core_limit(), _dumpable())
    if config is not None:
        yield from _state(config.state_dir, machine)
        if any(sink.kind == "keyring" for sink in config.sinks):
            yield judge_keyring(machine.text(machine.path("/proc/key-users")), os.geteuid())
        if any(sink.kind == "xfrm" for sink in config.sinks):
            yield judge_ipsec(read_counters(machine.path("/proc/net/xfrm_stat")))


def judge_dumps(core_limit: int, dumpable: int) -> Finding:
    """Whether a crash of a keyvigil process could write its memory to disk (core(5), prctl(2))."""
    if core_limit == 0 and dumpable == 0:
        return Finding("host.core-dumps", Severity.OK, "core dumps of keyvigil are off", subject=SUBJECT)
    remedy = "Report this: the agent switches core dumps off by itself, and something switched them on again."
    return Finding("host.core-dumps", Severity.ERROR, "a crash could write secrets to disk", remedy, SUBJECT)


def judge_keyring(key_users: str, uid: int) -> Finding:
    """Whether the kernel keeps keys, and has room for more of this user (proc_key-users(5))."""
    if not key_users:
        remedy = "Use the file sink: this kernel, or this container, has no key retention service."
        return Finding("host.keyring", Severity.ERROR, "the kernel's keyring cannot be used", remedy, SUBJECT)
    for line in key_users.splitlines():
        user, _, rest = line.partition(":")
        fields = rest.split()
        if user.strip() == str(uid) and len(fields) == 4:
            return _judge_quota(fields[2], fields[3])
    return Finding("host.keyring", Severity.OK, "the kernel's keyring is there and unused", subject=SUBJECT)


def judge_ipsec(counters: dict[str, int] | None) -> Finding:
    """What the kernel's IPsec dropped since it started."""
    if counters is None:
        remedy = "This kernel does not count: load xfrm_user, or build it with CONFIG_XFRM_STATISTICS."
        return Finding("host.ipsec", Severity.WARNING, "the kernel's IPsec counters cannot be read", remedy, SUBJECT)
    if not counters:
        return Finding("host.ipsec", Severity.OK, "the kernel's IPsec dropped nothing", subject=SUBJECT)
    what = "; ".join(f"{MEANING.get(name, name)} ({count})" for name, count in counters.items())
    if not WORRYING & counters.keys():
        return Finding("host.ipsec", Severity.INFO, what, subject=SUBJECT, facts=counters)
    remedy = "Compare `ip -s xfrm state` with the peer's, and look whether the counts still grow; see docs/sinks.md."
    return Finding("host.ipsec", Severity.WARNING, what, remedy, SUBJECT, counters)


def _judge_quota(keys: str, octets: str) -> Finding:
    shares = []
    for field in (keys, octets):
        used, _, most = field.partition("/")
        if used.isdecimal() and most.isdecimal() and int(most):
            shares.append(int(used) / int(most))
    used_share = max(shares, default=0.0)
    what = f"{used_share:.0%} of the keyring's quota is used"
    if used_share < _QUOTA_SHARE:
        return Finding("host.keyring", Severity.OK, what, subject=SUBJECT)
    remedy = "Raise kernel.keys.maxkeys and kernel.keys.maxbytes by sysctl, or use the file sink."
    return Finding("host.keyring", Severity.WARNING, what, remedy, SUBJECT)


def _core_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_CORE)[0]


def _dumpable() -> int:
    return int(ctypes.CDLL(None, use_errno=True).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0))


@dataclass(frozen=True)
class DiskRoom:
    """What is free for this user: bytes, and files (`None` where the file system does not count them)."""

    free_bytes: int
    free_files: int | None


def judge_disk(room: DiskRoom) -> Finding:
    """The agent writes little, but must be able to: a full disk stops joins, renewals and deliveries."""
    facts = {"free_bytes": room.free_bytes}
    what = f"{room.free_bytes / _MEBIBYTE:,.0f} MiB free for the state directory"
    remedy = "Free space on this disk: `sudo journalctl --vacuum-size=100M`, `sudo apt-get clean`."
    if room.free_bytes < _FULL_BYTES:
        return Finding("host.disk", Severity.ERROR, what, remedy, SUBJECT, facts)
    if room.free_bytes < _TIGHT_BYTES:
        return Finding("host.disk", Severity.WARNING, what, remedy, SUBJECT, facts)
    if room.free_files is not None and room.free_files < _FEW_FILES:
        what = f"the disk of the state directory takes {room.free_files} more files only"
        return Finding("host.disk", Severity.WARNING, what, "Remove small files from this disk.", SUBJECT, facts)
    return Finding("host.disk", Severity.OK, what, subject=SUBJECT, facts=facts)


def _state(state_dir: Path, machine: Machine) -> Iterator[Finding]:
    try:
        found = state_dir.lstat()
        disk = os.statvfs(state_dir)
    except FileNotFoundError:
        what = f"the state directory {state_dir} is not there yet"
        yield Finding("host.state", Severity.INFO, what, "`keyvigil join` makes it.", SUBJECT)
        return
    except OSError as error:
        yield failed("host.state", error, SUBJECT)
        return
    yield judge_disk(DiskRoom(disk.f_bavail * disk.f_frsize, disk.f_favail if disk.f_files else None))
    yield from _judge_directory(state_dir, found)
    yield from _lasting(state_dir, machine)


def _judge_directory(state_dir: Path, found: os.stat_result) -> Iterator[Finding]:
    me = os.geteuid()
    if not stat.S_ISDIR(found.st_mode):
        remedy = "Name a directory of the agent's own as node.state_dir."
        yield Finding("host.state", Severity.ERROR, f"{state_dir} is not a directory", remedy, SUBJECT)
    elif found.st_uid != me:
        what = f"{state_dir} belongs to user {found.st_uid}, and this is user {me}"
        remedy = f"Run the diagnosis as its owner: sudo -u '#{found.st_uid}' keyvigil diag …"
        yield Finding("host.state", Severity.ERROR, what, remedy, SUBJECT)
    elif stat.S_IMODE(found.st_mode) & 0o077:
        what = f"other users may enter {state_dir} (mode {stat.S_IMODE(found.st_mode):04o})"
        yield Finding("host.state", Severity.ERROR, what, f"chmod 700 {state_dir}", SUBJECT)
    else:
        yield from _judge_files(state_dir)


def _judge_files(state_dir: Path) -> Iterator[Finding]:
    loose = [path for path in sorted(state_dir.rglob("*")) if _is_loose(path.lstat())]
    for path in loose[:5]:
        what = f"{path.relative_to(state_dir)} is not private to this user"
        remedy = f"sudo chown {os.geteuid()} {path} && chmod go= {path}"
        yield Finding("host.state-files", Severity.ERROR, what, remedy, SUBJECT)
    if not loose:
        yield Finding("host.state", Severity.OK, f"{state_dir} is private to this user", subject=SUBJECT)


def _is_loose(found: os.stat_result) -> bool:
    if stat.S_ISLNK(found.st_mode):
        return True
    return found.st_uid != os.geteuid() or bool(stat.S_IMODE(found.st_mode) & 0o077)


def _lasting(state_dir: Path, machine: Machine) -> Iterator[Finding]:
    """A state directory in memory is gone after the next start."""
    kind = file_system(_mounts(machine), state_dir.resolve())
    if kind in _MEMORY_FILE_SYSTEMS:
        remedy = "Put node.state_dir on a disk: identity and profiles are lost with the next start."
        yield Finding("host.state-lasting", Severity.WARNING, f"{state_dir} lies in memory ({kind})", remedy, SUBJECT)


def _mounts(machine: Machine) -> list[tuple[str, str]]:
    """Mount point and file-system type of every mount (proc_pid_mountinfo(5))."""
    try:
        lines = machine.path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return []
    parted = [line.partition(" - ") for line in lines]
    return [(before.split()[4], after.split()[0]) for before, dash, after in parted if dash and len(before.split()) > 4]


def file_system(mounts: list[tuple[str, str]], path: Path) -> str:
    """Type of the file system that `path` lies on; empty when no mount covers it."""
    covering = [(point, kind) for point, kind in mounts if path.is_relative_to(point)]
    return max(covering, key=lambda mount: len(mount[0]), default=("", ""))[1]
