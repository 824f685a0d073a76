"""The node's configuration: one TOML file, every key known and checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from agent.errors import ConfigError
from protocol.codec import ProtocolViolation
from protocol.names import check_name

_LARGEST_CONFIG = 256 * 1024

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=1, le=50)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: unknown keys are refused."""


class NodeSection(Section, frozen=True):
    """Who this node is and where its state lies. `authority` is an https URL without a path."""

    name: str
    state_dir: str
    authority: str


class DeviceSection(Section, frozen=True):
    """One device: the driver's entry-point name, the SHA-256 that pins its code, and the driver's own options."""

    driver: str
    sha256: Sha256
    options: dict[str, Any] = {}


class DevicesSection(Section, frozen=True):
    """The enclave, and whichever sensors the node has."""

    enclave: DeviceSection
    fingerprint: DeviceSection | None = None
    face: DeviceSection | None = None
    voice: DeviceSection | None = None

    def sensors(self) -> dict[str, DeviceSection]:
        """Configured sensors by modality, in the order in which a person meets them."""
        found = {"fingerprint": self.fingerprint, "face": self.face, "voice": self.voice}
        return {name: section for name, section in found.items() if section is not None}


class PresenceSection(DeviceSection, frozen=True):
    """How the node tells that somebody is at the machine: a driver of kind "presence".

    Where it is not `required`, absence is logged only. `timeout_s` is how long a button is waited for.
    """

    required: bool = True
    timeout_s: Seconds = 30.0


class PresentationSection(Section, frozen=True):
    """How a person is asked for. `deadline_margin_s` is kept back from the deadline to match, sign and send."""

    minimum_modalities: Annotated[int, msgspec.Meta(ge=1, le=3)] = 2
    deadline_margin_s: Seconds = 5.0
    fingerprint_tries: Count = 3
    face_frames: Count = 3
    voice_s: Seconds = 5.0
    capture_timeout_s: Seconds = 25.0


class EnrolmentSection(Section, frozen=True):
    """How many good samples make a profile, and how many refused ones end the enrolment, per modality."""

    fingerprint_impressions: Count = 4
    face_frames: Count = 5
    voice_utterances: Count = 3
    voice_s: Seconds = 5.0
    refusals: Count = 10
    capture_timeout_s: Seconds = 30.0


class PromptSection(Section, frozen=True):
    """How the person is reached; `hook` is an argument list that is run without a shell."""

    hook: list[str] = []
    hook_timeout_s: Seconds = 120.0
    terminal: bool = True
    retry_s: Seconds = 60.0


class ConnectionSection(Section, frozen=True):
    """Time limits towards the authority."""

    timeout_s: Seconds = 15.0
    retry_min_s: Seconds = 1.0
    retry_max_s: Seconds = 60.0


class SinkSection(Section, frozen=True):
    """One key sink: the entry-point name of its kind and the sink's own options."""

    kind: str
    options: dict[str, Any] = {}


class LogSection(Section, frozen=True):
    """What the log on standard error says, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["plain", "json"] = "plain"


class DebugSection(Section, frozen=True):
    """`timings` writes the duration of every stage to `state_dir/timings.jsonl`; numbers only."""

    timings: bool = False


class Config(Section, frozen=True):
    """The whole file."""

    node: NodeSection
    devices: DevicesSection
    presence: PresenceSection | None = None
    presentation: PresentationSection = PresentationSection()
    enrolment: EnrolmentSection = EnrolmentSection()
    prompt: PromptSection = PromptSection()
    connection: ConnectionSection = ConnectionSection()
    sinks: list[SinkSection] = []
    log: LogSection = LogSection()
    debug: DebugSection = DebugSection()

    @property
    def state_dir(self) -> Path:
        """The state directory as a path."""
        return Path(self.node.state_dir)


def load_config(path: Path) -> Config:
    """The configuration in `path`; raises `ConfigError` naming the key at fault."""
    try:
        data = path.read_bytes()[: _LARGEST_CONFIG + 1]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", remedy="Name an existing file with --config.") from None
    if len(data) > _LARGEST_CONFIG:
        raise ConfigError(f"{path} is larger than {_LARGEST_CONFIG} bytes")
    return parse_config(data, str(path))


def parse_config(data: bytes, source: str = "configuration") -> Config:
    """The configuration in TOML `data`; `source` is named in errors."""
    try:
        config = msgspec.toml.decode(data, type=Config)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{source}: {_explain(str(error))}", remedy=_remedy(str(error))) from None
    _check_node(config.node, source)
    _check_sensors(config, source)
    return config


def _explain(message: str) -> str:
    """msgspec's message with the path in TOML terms: ``$.node.name`` becomes ``node.name``."""
    return re.sub(r"`\$\.?([^`]*)`", lambda match: f"`{match[1] or 'top level'}`", message)


def _remedy(message: str) -> str | None:
    if "unknown field" in message:
        return "Remove the unknown key or correct its spelling; docs/agent.md lists every key."
    if "missing required" in message:
        return "Add the missing key; docs/agent.md has a complete example."
    if "matching regex" in message:
        return "A driver is pinned by its SHA-256, 64 hexadecimal digits: `keyvigil devices` prints it."
    return None


def _check_node(node: NodeSection, source: str) -> None:
    try:
        check_name("node", node.name)
    except ProtocolViolation as error:
        raise ConfigError(f"{source}: node.name: {error}") from None
    if not Path(node.state_dir).is_absolute():
        raise ConfigError(f"{source}: node.state_dir is not an absolute path")
    try:
        url = urlsplit(node.authority)
        well_formed = url.scheme == "https" and bool(url.hostname) and url.port != 0
    except ValueError:
        well_formed = False
    if not well_formed or url.path not in {"", "/"} or url.query or url.fragment or url.username:
        raise ConfigError(
            f"{source}: node.authority is not an https URL of a host and port",
            remedy='Write it as "https://authority.example:8443".',
        )


def _check_sensors(config: Config, source: str) -> None:
    have, need = len(config.devices.sensors()), config.presentation.minimum_modalities
    if 0 < have < need:
        raise ConfigError(
            f"{source}: presentation.minimum_modalities is {need}, but only {have} sensors are configured",
            remedy="Configure another of devices.fingerprint, devices.face, devices.voice, or lower the number.",
        )
