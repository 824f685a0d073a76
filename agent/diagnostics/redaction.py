"""What may leave a node in a support archive: allow-lists by field, and a scrubber for sentences of our own making."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

import msgspec

from agent.config import Config, DeviceSection, SinkSection
from agent.log import printable

WITHHELD = "(left out)"
_LONGEST = 300

_SAFE_SECTIONS = ("presentation", "enrolment", "connection", "log", "debug")
"""Sections whose every value is a number, or a word out of a fixed list."""
_SAFE_OPTIONS = frozenset(
    {
        "baud", "baudrate", "block_ms", "bus", "clear_on_stop", "device", "fail_closed", "folder", "fourcc", "fps",
        "height", "hook_timeout_s", "keyring", "library", "module", "path", "port", "prefix", "priority", "product_id",
        "rate", "replay_window", "seat", "serial", "slot", "source", "state_dir", "tcti", "timeout", "usbip",
        "vendor_id", "warmup_frames", "width",
    }
)  # fmt: skip
"""Options of drivers and sinks that say where and how, never with what."""
_SAFE_ENVIRONMENT = frozenset({"ALSA_CONFIG_PATH", "LANG", "LC_ALL", "TSS2_LOG", "TZ", "XDG_SESSION_TYPE"})
_SENSITIVE_NAME = re.compile(r"pass|pin|secret|token|ticket|key|auth|cookie|credential|pepper", re.IGNORECASE)
_LEAST_SECRET = 4
"""Characters; a shorter value would blot out ordinary words."""

_PATTERNS = (
    (re.compile(r"-----BEGIN.*", re.DOTALL), "[PEM]"),
    (re.compile(r"\bkv[a-z][0-9]?\.[\w.+/=-]+"), "[token]"),
    (re.compile(r"(?<=://)[^/\s@]+@"), "[user]@"),
    (
        re.compile(
            r"(?i)(?<![a-z])(pass(?:word|phrase)?|pin|secret|token|ticket|key|auth(?:orization)?|cookie|pepper)(\s*[=:]\s*)\S+"
        ),
        r"\1\2[value]",
    ),
    (re.compile(r"\b[0-9A-Fa-f]{24,}\b"), "[hex]"),
    (re.compile(r"(?=[\w+/=-]*[a-z])(?=[\w+/=-]*[A-Z])(?=[\w+/=-]*\d)[\w+/-]{24,}={0,2}"), "[data]"),
    (re.compile(r"(?<![\d.])\d{6,}(?!\d)"), "[number]"),
)


@dataclass(frozen=True)
class Scrubber:
    """Takes secrets out of sentences: those of a known form, and the values in `known` in whatever form."""

    known: frozenset[str] = field(default=frozenset(), repr=False)

    def text(self, text: str) -> str:
        """One printable line without them."""
        shown = printable(text, 2000)
        for secret in sorted(self.known, key=len, reverse=True):
            shown = shown.replace(secret, "[secret]")
        for pattern, replacement in _PATTERNS:
            shown = pattern.sub(replacement, shown)
        return printable(shown)

    def values(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Texts scrubbed, numbers as they are."""
        return {name: self.text(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}


def scrubber(config: Config | None, environment: Mapping[str, str]) -> Scrubber:
    """Knows the values of every option that is left out, and of environment variables with a telling name."""
    withheld = [] if config is None else [value for section in _option_tables(config) for value in _withheld(section)]
    told = [value for name, value in environment.items() if _SENSITIVE_NAME.search(name)]
    return Scrubber(frozenset(text for text in [*withheld, *told] if len(text) >= _LEAST_SECRET))


def safe_config(config: Config) -> dict[str, Any]:
    """The configuration without what could be secret; the name of an option that was left out remains."""
    plain = {name: msgspec.to_builtins(getattr(config, name)) for name in _SAFE_SECTIONS}
    devices: dict[str, DeviceSection] = {**config.devices.sensors(), "enclave": config.devices.enclave}
    presence = config.presence
    return {
        "node": {"name": config.node.name, "state_dir": config.node.state_dir, "authority": config.node.authority},
        "devices": {name: _safe_device(section) for name, section in devices.items()},
        "display": None if config.display is None else _safe_device(config.display),
        "infrared": None if config.infrared is None else _safe_device(config.infrared),
        "presence": None if presence is None else _safe_device(presence) | {"required": presence.required},
        "modalities": {
            name: {"sha256": section.sha256, "options": _safe_options(section.options)}
            for name, section in config.modalities.items()
        },
        "sinks": [_safe_sink(section) for section in config.sinks],
        "prompt": {
            "hook": _safe_hook(config.prompt.hook),
            "hook_timeout_s": config.prompt.hook_timeout_s,
            "terminal": config.prompt.terminal,
            "retry_s": config.prompt.retry_s,
        },
        **plain,
    }


def safe_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that explain how devices are found."""
    return {name: printable(environment[name], _LONGEST) for name in sorted(_SAFE_ENVIRONMENT & set(environment))}


def _safe_device(section: DeviceSection) -> dict[str, Any]:
    return {"driver": section.driver, "sha256": section.sha256, "options": _safe_options(section.options)}


def _safe_sink(section: SinkSection) -> dict[str, Any]:
    return {"kind": section.kind, "options": _safe_options(section.options)}


def _safe_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {printable(name, 60): _safe_option(name, value) for name, value in options.items()}


def _safe_option(name: str, value: Any) -> Any:
    if name == "hook":
        return _safe_hook(value)
    if name not in _SAFE_OPTIONS or not isinstance(value, str | int | float):
        return WITHHELD
    return _without_user(value) if isinstance(value, str) else value


def _without_user(text: str) -> str:
    """An address without user, password and query, and without a path that says more than where; other text as is."""
    if "://" not in text:
        return Scrubber().text(text)
    try:
        url = urlsplit(text)
        port = f":{url.port}" if url.port else ""
    except ValueError:
        return WITHHELD
    path = "" if "=" in url.path else url.path
    return Scrubber().text(f"{url.scheme}://{url.hostname}{port}{path}")


def _safe_hook(hook: Any) -> Any:
    """The program's name and the number of its arguments, which may be anything."""
    if not isinstance(hook, list) or not hook:
        return []
    return {"program": printable(PurePath(str(hook[0])).name, 60), "arguments": len(hook) - 1}


def _option_tables(config: Config) -> Iterator[Mapping[str, Any]]:
    for device in [*config.devices.sensors().values(), config.devices.enclave]:
        yield device.options
    for section in (config.presence, config.display, config.infrared):
        if section is not None:
            yield section.options
    for modality in config.modalities.values():
        yield modality.options
    for sink in config.sinks:
        yield sink.options
    yield {"hook": config.prompt.hook}


def _withheld(options: Mapping[str, Any]) -> Iterator[str]:
    """Every text of an option that `_safe_option` does not let through."""
    for name, value in options.items():
        if name == "hook":
            yield from _texts(value[1:] if isinstance(value, list) else value)
        elif _safe_option(name, value) == WITHHELD:
            yield from _texts(value)
        elif isinstance(value, str) and "://" in value:
            yield from _kept_of_address(value)


def _kept_of_address(address: str) -> Iterator[str]:
    """What `_without_user` takes out."""
    place, _, query = address.partition("://")[2].partition("?")
    user, _, password = place.rpartition("@")[0].partition(":")
    path = place.rpartition("@")[2].partition("/")[2]
    yield from (user, password, query)
    if "=" in path:
        yield path


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [str(value)]
