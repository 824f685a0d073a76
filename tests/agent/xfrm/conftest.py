"""The model of the kernel's tables that the sink's tests work on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulators.devices.xfrm_kernel import XfrmKernel
from tests.agent.xfrm.made import NOW


@pytest.fixture
def kernel() -> Iterator[XfrmKernel]:
    with XfrmKernel(now=NOW) as made:
        yield made
