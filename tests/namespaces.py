"""When a test may make network namespaces."""

from __future__ import annotations

import os
import shutil

import pytest


def needs(*tools: str) -> pytest.MarkDecorator:
    """Skips a test where a tool is missing, or where namespaces cannot be made."""
    missing = [
        tool
        for tool in ("ip", *tools)
        if shutil.which(tool, path=os.environ.get("PATH", "") + ":/sbin:/usr/sbin") is None
    ]
    reason = f"needs {', '.join(missing)}" if missing else "needs root, for network namespaces"
    return pytest.mark.skipif(bool(missing) or os.geteuid() != 0, reason=reason)
