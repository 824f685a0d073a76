"""Style sheet, script and mark: read once, and named by their content, so that a browser keeps them for good."""

from __future__ import annotations

import hashlib
from importlib.resources import files

KINDS = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "mark.svg": "image/svg+xml",
}
CONTENT = {name: files("authority.console").joinpath("static", name).read_bytes() for name in KINDS}
KEPT = "public, max-age=31536000, immutable"


def address(name: str) -> str:
    """Where a file is, with its content's digest, which makes an update another address."""
    return f"/console/static/{name}?v={hashlib.sha256(CONTENT[name]).hexdigest()[:16]}"
