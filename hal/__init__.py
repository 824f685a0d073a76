"""Hardware abstraction layer: what can be asked of a device, and the values that come back.

Nothing here performs I/O. Drivers implement these interfaces; simulators stand at the other end of a driver's wire.
"""

from hal._camera import Camera, CameraFormat, Frame
from hal._enclave import (
    Approval,
    Attestation,
    CertifiedKey,
    Enclave,
    EnclaveClock,
    EnclaveKind,
    EnclaveStatus,
    Endorsement,
    KeyUse,
    LockoutStatus,
    NvCertification,
    PcrSelection,
    PcrValues,
    PinState,
    Report,
    SealAuthority,
)
from hal._errors import (
    AuthorisationFailed,
    Busy,
    DeviceError,
    Disconnected,
    NotFound,
    PermissionDenied,
    ProtocolError,
    TimedOut,
    Unsupported,
)
from hal._fingerprint import FingerprintImage, FingerprintReader
from hal._hotplug import PlugEvent, Reopening, watch
from hal._match import EnrolStage, Finger, MatchOnlyReader, MatchOutcome, ScanHint
from hal._microphone import AudioBlock, Microphone
from hal._presence import Absence, Presence, PresenceSensor
from hal._registry import DRIVER_GROUP, Driver, DriverEntry, available_drivers, load_driver
from hal._values import Capability, Clock, Deadline, Device, DeviceInfo, DeviceKind, SystemClock, Transport

__all__ = [
    "DRIVER_GROUP",
    "Absence",
    "Approval",
    "Attestation",
    "AudioBlock",
    "AuthorisationFailed",
    "Busy",
    "Camera",
    "CameraFormat",
    "Capability",
    "CertifiedKey",
    "Clock",
    "Deadline",
    "Device",
    "DeviceError",
    "DeviceInfo",
    "DeviceKind",
    "Disconnected",
    "Driver",
    "DriverEntry",
    "Enclave",
    "EnclaveClock",
    "EnclaveKind",
    "EnclaveStatus",
    "Endorsement",
    "EnrolStage",
    "Finger",
    "FingerprintImage",
    "FingerprintReader",
    "Frame",
    "KeyUse",
    "LockoutStatus",
    "MatchOnlyReader",
    "MatchOutcome",
    "Microphone",
    "NotFound",
    "NvCertification",
    "PcrSelection",
    "PcrValues",
    "PermissionDenied",
    "PinState",
    "PlugEvent",
    "Presence",
    "PresenceSensor",
    "ProtocolError",
    "Reopening",
    "Report",
    "ScanHint",
    "SealAuthority",
    "SystemClock",
    "TimedOut",
    "Transport",
    "Unsupported",
    "available_drivers",
    "load_driver",
    "watch",
]
