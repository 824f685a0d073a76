"""The node's configuration: one TOML file, every key known and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from agent.errors import ConfigError
from agent.extension import MODALITY_GROUP
from agent.signals.settings import SignalsSection
from protocol.codec import ProtocolViolation
from protocol.names import check_name

_LARGEST_CONFIG = 256 * 1024

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=1, le=50)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: unknown keys are refused."""


S = TypeVar("S", bound=Section)


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


class DevicesSection:
    """The enclave, and whichever sensors the node has: a table for each modality, named like it."""

    def __init__(self, enclave: DeviceSection, sensors: Mapping[str, DeviceSection]) -> None:
        self.enclave = enclave
        self._sensors = dict(sensors)

    def sensors(self) -> dict[str, DeviceSection]:
        """Configured sensors by modality, in the order of the file, which is that of enrolling."""
        return dict(self._sensors)


class ModalitySection(Section, frozen=True):
    """What a modality is: the SHA-256 that pins its code, unless it comes with Keyvigil, and its own options."""

    sha256: Sha256 | None = None
    options: dict[str, Any] = {}


class ModalitiesSection(dict[str, ModalitySection]):
    """Sections of modalities that have any, by name."""


class PresenceSection(DeviceSection, frozen=True):
    """How the node tells that somebody is at the machine: a driver of kind "presence".

    Where it is not `required`, absence is logged only. `timeout_s` is how long a button is waited for.
    """

    required: bool = True
    timeout_s: Seconds = 30.0


class DisplaySection(DeviceSection, frozen=True):
    """The screen that lights the face at a challenge, by a driver of kind "display".

    `brightness` is the share of its light that is used: less of it in a dim room.
    """

    brightness: Annotated[float, msgspec.Meta(ge=0.05, le=1)] = 1.0


class InfraredSection(DeviceSection, frozen=True):
    """An infrared camera beside that of the face, which must see the same face at a challenge.

    `strobe`: its emitter lights some frames and not others, and the difference is looked at.
    """

    strobe: bool = True


class PresentationSection(Section, frozen=True):
    """How a person is asked for. `deadline_margin_s` is kept back from the deadline to match, sign and send.

    Failure reports leave `failure_at_s` after the activation; with 0, and where that has passed, shortly before the
    deadline.
    """

    minimum_modalities: Annotated[int, msgspec.Meta(ge=1, le=10)] = 2
    deadline_margin_s: Seconds = 5.0
    capture_timeout_s: Seconds = 25.0
    failure_at_s: Annotated[float, msgspec.Meta(ge=0, le=300)] = 0.0


class EnrolmentSection(Section, frozen=True):
    """How many refused samples of a modality end an enrolment, and how long each may take.

    `check_room`: whether the enclave is asked beforehand if another profile fits.
    """

    refusals: Count = 10
    capture_timeout_s: Seconds = 30.0
    check_room: bool = True


class PromptSection(Section, frozen=True):
    """How the person is reached; `hook` is an argument list that is run without a shell."""

    hook: list[str] = []
    hook_timeout_s: Seconds = 120.0
    terminal: bool = True
    retry_s: Seconds = 60.0


class ConnectionSection(Section, frozen=True):
    """Time limits towards the authority, and the HTTP proxy that leads there, `http://host:port`, if one does.

    Nothing but this names a proxy, no variable of the environment.
    """

    timeout_s: Seconds = 15.0
    retry_min_s: Seconds = 1.0
    retry_max_s: Seconds = 60.0
    proxy: str | None = None


class AttestationSection(Section, frozen=True):
    """What goes with a machine attestation: the firmware's event log, where that file is there; empty for none."""

    event_log: str = "/sys/kernel/security/tpm0/binary_bios_measurements"


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
    display: DisplaySection | None = None
    infrared: InfraredSection | None = None
    modalities: ModalitiesSection = msgspec.field(default_factory=ModalitiesSection)
    presentation: PresentationSection = PresentationSection()
    enrolment: EnrolmentSection = EnrolmentSection()
    prompt: PromptSection = PromptSection()
    connection: ConnectionSection = ConnectionSection()
    attestation: AttestationSection = AttestationSection()
    sinks: list[SinkSection] = []
    log: LogSection = LogSection()
    debug: DebugSection = DebugSection()
    signals: SignalsSection | None = None

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
        config = msgspec.toml.decode(data, type=Config, dec_hook=_named_tables)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{source}: {_explain(str(error))}", remedy=_remedy(str(error))) from None
    _check_node(config.node, source)
    _check_proxy(config.connection.proxy, source)
    _check_sensors(config, source)
    return config


def _named_tables(kind: type, value: Any) -> object:
    """The sections that hold a table for each of some names."""
    if kind is ModalitiesSection:
        return ModalitiesSection(_tables("modalities", value, ModalitySection))
    if kind is not DevicesSection:
        raise NotImplementedError(kind)
    tables = _tables("devices", value, DeviceSection)
    if "enclave" not in tables:
        raise msgspec.ValidationError("Object missing required field `enclave` - at `$.devices`")
    return DevicesSection(tables.pop("enclave"), tables)


def _tables(section: str, value: object, form: type[S]) -> dict[str, S]:
    if not isinstance(value, dict):
        raise msgspec.ValidationError(f"Expected `object`, got `{type(value).__name__}` - at `$.{section}`")
    return {name: _table(section, name, each, form) for name, each in value.items()}


def _table(section: str, name: str, value: object, form: type[S]) -> S:
    """One of them; msgspec alone would not say which."""
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        message, _, inner = str(error).partition(" - at `$")
        raise msgspec.ValidationError(f"{message} - at `$.{section}.{name}{inner.rstrip('`')}`") from None


def _explain(message: str) -> str:
    """msgspec's message with the path in TOML terms: ``$.node.name`` becomes ``node.name``."""
    return re.sub(r"`\$\.?([^`]*)`", lambda match: f"`{match[1] or 'top level'}`", message)


def _remedy(message: str) -> str | None:
    if "unknown field" in message:
        return "Remove the unknown key or correct its spelling; docs/agent.md lists every key."
    if "missing required" in message:
        return "Add the missing key; docs/agent.md has a complete example."
    if "matching regex" in message and "sha256" in message:
        return "A driver is pinned by its SHA-256, 64 hexadecimal digits: `keyvigil devices` prints it."
    return None


def _check_node(node: NodeSection, source: str) -> None:
    try:
        check_name("node", node.name)
    except ProtocolViolation as error:
        raise ConfigError(f"{source}: node.name: {error}") from None
    if not Path(node.state_dir).is_absolute():
        raise ConfigError(f"{source}: node.state_dir is not an absolute path")
    if not _is_origin(node.authority, "https"):
        raise ConfigError(
            f"{source}: node.authority is not an https URL of a host and port",
            remedy='Write it as "https://authority.example:8443".',
        )


def _check_proxy(proxy: str | None, source: str) -> None:
    if proxy is not None and not _is_origin(proxy, "http"):
        raise ConfigError(
            f"{source}: connection.proxy is not an http URL of a host and port without a user",
            remedy='Write it as "http://proxy.example:3128"; let the proxy admit the node by its address.',
        )


def _is_origin(text: str, scheme: str) -> bool:
    """Whether a URL names a host, perhaps its port, and nothing else."""
    try:
        url = urlsplit(text)
        named = url.scheme == scheme and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    return named and url.path in {"", "/"} and not url.query and not url.fragment and "@" not in url.netloc


def _check_sensors(config: Config, source: str) -> None:
    sensors, need = config.devices.sensors(), config.presentation.minimum_modalities
    installed = {point.name for point in entry_points(group=MODALITY_GROUP)}
    known = ", ".join(sorted(installed))
    for section, names in (("devices", sensors), ("modalities", config.modalities)):
        if unknown := sorted({*names} - installed):
            raise ConfigError(
                f"{source}: {section}.{unknown[0]}: no such modality is installed",
                remedy=f"Install its package, or use one of those that are: {known}.",
            )
    if 0 < len(sensors) < need:
        raise ConfigError(
            f"{source}: presentation.minimum_modalities is {need}, but only {len(sensors)} sensors are configured",
            remedy=f"Add [devices.NAME] for another modality ({known}), or lower the number.",
        )
