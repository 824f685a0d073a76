"""ONNX networks: opened only if they are the pinned file, and run in one thread."""

from __future__ import annotations

import os
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from agent.biometrics._files import require_sha256
from agent.biometrics.errors import ModelError


def open_shipped(name: str, sha256: str, *, arena: bool = False) -> Any:
    """`open_session` of a file in agent/models; raises `ModelError`."""
    with as_file(files("agent") / "models" / name) as path:
        return open_session(path, sha256, arena=arena)


def open_session(path: Path, sha256: str, *, arena: bool = False) -> Any:
    """An onnxruntime session of the file with that SHA-256; raises `ModelError`, also for a file that is no network.

    With `arena` the library keeps memory between runs: faster, and as large as the largest run but for `shrinking`.
    """
    # The library (1.32) sends an identifier of the machine and each session to its maker, unless told before it loads.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"the library for networks does not load: {error}") from None
    require_sha256(path, sha256)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  # the library raises a class of its own for each way in which a file is no network
        raise ModelError(f"the model file {path.name} is not a network that onnxruntime can run") from None


def shrinking() -> Any:
    """Options of a run that gives the arena's memory back at its end."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
