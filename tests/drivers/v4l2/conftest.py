"""Leaves these tests out where no simulated node can be seen."""

from __future__ import annotations

from tests.drivers.camera_rigs import UNDER_UMOCKDEV

if not UNDER_UMOCKDEV:
    collect_ignore_glob = ["test_*.py"]
