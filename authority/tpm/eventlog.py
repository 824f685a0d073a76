"""Event logs of measured boot: parsed strictly, and replayed into the register values that they explain.

Source: TCG PC Client Platform Firmware Profile 1.06, section 10 (event logging): a TCG_PCClientPCREvent whose data is
a TCG_EfiSpecIDEvent, then TCG_PCR_EVENT2; or the older log of TCG_PCClientPCREvent alone, which knows SHA-1 only.
Everything is little-endian. A log is not signed: it is worth what its replay equals in a verified quote, and of an
event only the digests are bound by that, its type and data are not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

from authority.tpm._reader import Reader, TpmFormatError
from authority.tpm.wire import Algorithm

MAX_LOG = 512 * 1024
MAX_ALGORITHMS = 8
REGISTERS = 24
DYNAMIC = range(17, 23)
"""Registers of a dynamic launch: all ones until one happens, which resets them to zeros before it is logged."""
FIRMWARE = range(8)
"""Registers that every boot of a PC's firmware extends: each gets a separator, at least."""
DIGEST_BYTES = {Algorithm.SHA1: 20, Algorithm.SHA256: 32, Algorithm.SHA384: 48, Algorithm.SHA512: 64}

_NO_REGISTER = 0xFFFFFFFF
_SPEC_ID = b"Spec ID Event03\0"
_LOCALITY = b"StartupLocality\0"
_LOCALITIES = frozenset({0, 3, 4})


class EventType(IntEnum):
    """TCG_EVENTTYPE (10.4.1), as far as the authority names or treats it."""

    PREBOOT_CERT = 0x0
    POST_CODE = 0x1
    NO_ACTION = 0x3
    SEPARATOR = 0x4
    ACTION = 0x5
    EVENT_TAG = 0x6
    S_CRTM_CONTENTS = 0x7
    S_CRTM_VERSION = 0x8
    CPU_MICROCODE = 0x9
    PLATFORM_CONFIG_FLAGS = 0xA
    TABLE_OF_DEVICES = 0xB
    COMPACT_HASH = 0xC
    IPL = 0xD
    NONHOST_CODE = 0xF
    NONHOST_CONFIG = 0x10
    NONHOST_INFO = 0x11
    OMIT_BOOT_DEVICE_EVENTS = 0x12
    POST_CODE2 = 0x13
    EFI_VARIABLE_DRIVER_CONFIG = 0x80000001
    EFI_VARIABLE_BOOT = 0x80000002
    EFI_BOOT_SERVICES_APPLICATION = 0x80000003
    EFI_BOOT_SERVICES_DRIVER = 0x80000004
    EFI_RUNTIME_SERVICES_DRIVER = 0x80000005
    EFI_GPT_EVENT = 0x80000006
    EFI_ACTION = 0x80000007
    EFI_PLATFORM_FIRMWARE_BLOB = 0x80000008
    EFI_HANDOFF_TABLES = 0x80000009
    EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000000A
    EFI_HANDOFF_TABLES2 = 0x8000000B
    EFI_VARIABLE_BOOT2 = 0x8000000C
    EFI_GPT_EVENT2 = 0x8000000D
    EFI_HCRTM_EVENT = 0x80000010
    EFI_VARIABLE_AUTHORITY = 0x800000E0
    EFI_SPDM_FIRMWARE_BLOB = 0x800000E1
    EFI_SPDM_FIRMWARE_CONFIG = 0x800000E2


@dataclass(frozen=True)
class LoggedEvent:
    """One event: register, type, a digest per bank (by TPM_ALG_ID, known to us or not), and its data."""

    pcr: int
    kind: int
    digests: dict[int, bytes]
    data: bytes

    @property
    def extends(self) -> bool:
        """Whether the event went into its register; EV_NO_ACTION tells something and measures nothing."""
        return self.kind != EventType.NO_ACTION

    @property
    def title(self) -> str:
        """The type as a word, or its number."""
        try:
            return EventType(self.kind).name
        except ValueError:
            return f"0x{self.kind:08x}"


@dataclass(frozen=True)
class EventLog:
    """Events in their order. `locality` is what the TPM was started in, the first value of register 0."""

    events: tuple[LoggedEvent, ...]
    banks: tuple[int, ...]
    locality: int = 0


def parse_event_log(data: bytes) -> EventLog:
    """The log in `data`, at most 512 KiB; raises `TpmFormatError`."""
    if not data:
        raise TpmFormatError("event log: it is empty")
    if len(data) > MAX_LOG:
        raise TpmFormatError(f"event log: {len(data)} bytes, at most {MAX_LOG} are read")
    reader = Reader(data, "event log")
    first = _first_event(reader)
    agile = first.kind == EventType.NO_ACTION and first.data.startswith(_SPEC_ID)
    sizes = _algorithms(first.data) if agile else {int(Algorithm.SHA1): DIGEST_BYTES[Algorithm.SHA1]}
    events = [first]
    while reader.left:
        events.append(_event2(reader, sizes) if agile else _first_event(reader))
    return EventLog(tuple(events), tuple(sizes), _locality(events))


def replay(log: EventLog, bank: Algorithm) -> dict[int, bytes]:
    """The values that the log leads to, of the registers that it extends; raises `TpmFormatError`.

    An event without a digest for `bank` makes the replay of that bank impossible.
    """
    if bank not in log.banks:
        raise TpmFormatError(f"event log: it has no digests of the {bank.name} bank")
    values: dict[int, bytes] = {}
    for event in log.events:
        if not event.extends:
            continue
        digest = event.digests.get(bank)
        if digest is None:
            raise TpmFormatError(f"event log: an event of PCR {event.pcr} has no {bank.name} digest")
        before = values.get(event.pcr) or _start(log, event.pcr, bank)
        values[event.pcr] = hashlib.new(bank.name.lower(), before + digest).digest()
    return values


def reset_value(pcr: int, bank: Algorithm) -> bytes:
    """What a register holds before anything extends it: zeros, or ones before a dynamic launch."""
    return (b"\xff" if pcr in DYNAMIC else b"\0") * DIGEST_BYTES[bank]


def data_hashes(event: LoggedEvent, bank: Algorithm) -> bool:
    """Whether the event's data is what was measured, so that its text is as good as its digest."""
    return hashlib.new(bank.name.lower(), event.data).digest() == event.digests.get(bank)


def _start(log: EventLog, pcr: int, bank: Algorithm) -> bytes:
    return bytes(DIGEST_BYTES[bank] - 1) + bytes([log.locality if pcr == 0 else 0])


def _first_event(reader: Reader) -> LoggedEvent:
    """TCG_PCClientPCREvent (10.2.1)."""
    pcr, kind = reader.uint(4, "little"), reader.uint(4, "little")
    digest = reader.take(DIGEST_BYTES[Algorithm.SHA1])
    return _checked(LoggedEvent(pcr, kind, {int(Algorithm.SHA1): digest}, reader.take(reader.uint(4, "little"))))


def _event2(reader: Reader, sizes: dict[int, int]) -> LoggedEvent:
    """TCG_PCR_EVENT2 (10.2.2)."""
    pcr, kind, count = (reader.uint(4, "little") for _ in range(3))
    if not 0 < count <= len(sizes):
        raise TpmFormatError(f"event log: an event with {count} digests in a log of {len(sizes)} banks")
    digests: dict[int, bytes] = {}
    for _ in range(count):
        bank = reader.uint(2, "little")
        if bank not in sizes or bank in digests:
            raise TpmFormatError(f"event log: a digest of bank 0x{bank:04x}, twice or not announced")
        digests[bank] = reader.take(sizes[bank])
    return _checked(LoggedEvent(pcr, kind, digests, reader.take(reader.uint(4, "little"))))


def _checked(event: LoggedEvent) -> LoggedEvent:
    if event.pcr >= REGISTERS and (event.extends or event.pcr != _NO_REGISTER):
        raise TpmFormatError(f"event log: an event of PCR {event.pcr}")
    return event


def _algorithms(data: bytes) -> dict[int, int]:
    """Digest sizes by bank in a TCG_EfiSpecIDEvent (10.4.5.1)."""
    reader = Reader(data, "TCG_EfiSpecIDEvent")
    reader.take(len(_SPEC_ID) + 4 + 4)
    count = reader.uint(4, "little")
    if not 0 < count <= MAX_ALGORITHMS:
        raise TpmFormatError(f"TCG_EfiSpecIDEvent: {count} banks")
    sizes: dict[int, int] = {}
    for _ in range(count):
        bank, size = reader.uint(2, "little"), reader.uint(2, "little")
        known = {int(key): value for key, value in DIGEST_BYTES.items()}
        if bank in sizes or size != known.get(bank, size) or not 0 < size <= max(DIGEST_BYTES.values()):
            raise TpmFormatError(f"TCG_EfiSpecIDEvent: digests of {size} bytes for bank 0x{bank:04x}")
        sizes[bank] = size
    reader.take(reader.uint(1))
    reader.end()
    return sizes


def _locality(events: list[LoggedEvent]) -> int:
    """The StartupLocality event (10.4.5.3): at most one, before anything is extended into register 0."""
    found = [at for at, event in enumerate(events) if not event.extends and event.data.startswith(_LOCALITY)]
    if not found:
        return 0
    data, before = events[found[0]].data, events[: found[0]]
    locality = data[-1] if len(data) == len(_LOCALITY) + 1 else -1
    late = any(event.extends and event.pcr == 0 for event in before)
    if len(found) > 1 or late or locality not in _LOCALITIES or events[found[0]].pcr != 0:
        raise TpmFormatError("event log: a startup locality that is repeated, late, or none")
    return locality
