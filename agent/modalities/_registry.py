"""How a modality is found, checked against its pin, and made."""

from __future__ import annotations

from collections.abc import Mapping

from agent.config import Config, ModalitySection
from agent.errors import AgentError, ConfigError
from agent.extension import MODALITY_GROUP, Modality
from agent.modalities._contained import contained
from agent.pipelines import Pipeline
from hal import DeviceError, PluginEntry, available_plugins, load_plugin

_OWN_PACKAGE = "agent"


def available_modalities() -> dict[str, PluginEntry]:
    """Every installed modality by name, with the hash to pin; raises `PermissionDenied` for a name offered twice."""
    return available_plugins(MODALITY_GROUP, "modality")


def load_modalities(config: Config) -> dict[str, Modality]:
    """The modality of each configured sensor, in the configuration's order.

    One that does not come with Keyvigil sees biometrics all the same, so that it is loaded only as the configuration
    pins it. Raises `ConfigError` without a pin or for bad options, `NotFound`, `PermissionDenied`.
    """
    return {name: load_modality(name, config.modalities.get(name)) for name in config.devices.sensors()}


def load_modality(name: str, section: ModalitySection | None) -> Modality:
    """One modality as its section of the configuration says."""
    section = section or ModalitySection()
    entry = available_modalities().get(name)
    if entry is not None and section.sha256 is None and not _is_own(entry):
        raise ConfigError(
            f"the modality {name!r} does not come with Keyvigil, and the configuration does not pin it",
            remedy=f'If you trust its package, add [modalities.{name}] with sha256 = "{entry.sha256}".',
        )
    try:
        make, entry = load_plugin(MODALITY_GROUP, "modality", name, section.sha256)
        modality = contained(make(dict(section.options)), name, "" if _is_own(entry) else entry.sha256)
    except (AgentError, DeviceError):
        raise
    except ImportError as error:
        raise ConfigError(f"the modality {name!r} lacks a library: {error.name}", remedy="Install it.") from None
    except Exception as error:  # noqa: BLE001 - code of a third party may raise anything
        cause = type(error).__name__
        raise ConfigError(f"the modality {name!r} cannot be made: {cause}", remedy="Ask its maker.") from None
    return modality


def load_pipelines(modalities: Mapping[str, Modality]) -> dict[str, Pipeline]:
    """A pipeline for each modality; models are loaded when first used."""
    return {name: modality.pipeline() for name, modality in modalities.items()}


def _is_own(entry: PluginEntry) -> bool:
    return entry.module.partition(".")[0] == _OWN_PACKAGE
