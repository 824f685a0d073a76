"""The modalities that are installed: found by entry point, pinned by hash, ours among them by the same way.

Importing this package is cheap: what a modality computes with is loaded when its pipeline is first used.
"""

from agent.modalities._registry import available_modalities, load_modalities, load_pipelines

__all__ = ["available_modalities", "load_modalities", "load_pipelines"]
