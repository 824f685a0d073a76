"""How many nodes may be connected: as many as the process may have descriptors, and operators keep theirs."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from authority.planes.tls import MOST_OPERATORS, RESERVED, connections_allowed
from tests.authority.planes.plane import Plane

UNIT = "packages/authority/root/usr/lib/systemd/system/keyvigil-authority.service"
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("descriptors", [256, 1024, 20_000, 65_536, 1_073_741_816])
def test_nodes_operators_and_the_rest_have_their_share(descriptors: int) -> None:
    nodes, operators = connections_allowed(descriptors)
    assert min(nodes, operators) > 0
    assert operators <= MOST_OPERATORS
    assert nodes + operators <= max(descriptors - RESERVED, RESERVED)


def test_strangers_cannot_have_all_that_a_generous_system_gives() -> None:
    assert sum(connections_allowed(1_073_741_816)) < 65_536


def test_the_packaged_service_lets_fifty_thousand_nodes_be_connected() -> None:
    found = re.search(r"^LimitNOFILE=(\d+)$", (ROOT / UNIT).read_text(), re.MULTILINE)
    assert found is not None
    assert connections_allowed(int(found[1]))[0] >= 50_000


def test_the_node_plane_takes_what_the_process_may_have(plane: Plane) -> None:
    allowed, _ = connections_allowed(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    assert plane.running.server.config.limit_concurrency == allowed


def test_serving_takes_what_the_system_gives_and_not_what_a_shell_begins_with() -> None:
    program = (
        "import resource as r; from authority.planes.tls import take_descriptors as take;"
        "most = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (64, most));"
        "assert take() == most; assert r.getrlimit(r.RLIMIT_NOFILE) == (most, most)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
