"""An operator plane of no authority: what it is can be described without one."""

from __future__ import annotations

import os
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from authority.keys import FileKek
from authority.planes.hub import Hub
from authority.planes.operator_plane import OperatorContext, create_operator_app
from authority.runtime import Runtime
from authority.store import Store
from authority.trust.policy import default_policy


def api_description() -> dict[str, Any]:
    """The OpenAPI document of this version; the keys behind it are drawn for nothing else, and go with it."""
    store = Store("sqlite://")
    try:
        kos, approvals = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        runtime = Runtime(default_policy(), time.time, os.urandom, FileKek(os.urandom(32)), kos, approvals, 0)
        return create_operator_app(OperatorContext(store, runtime, Hub(), "")).openapi()
    finally:
        store.close()
