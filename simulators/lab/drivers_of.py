"""The hashes by which a lab's configurations pin the drivers of the agent that it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache

from hal import available_drivers
from simulators.lab.processes import AGENT_VARIABLE, run


@cache
def driver_hashes(agent: str) -> Mapping[str, str]:
    """SHA-256 by driver, as the program `agent` has them; raises `LabError` where it does not say.

    Asked of the program itself only where it is another version's, since to ask costs a second.
    """
    if AGENT_VARIABLE not in os.environ:
        return {name: driver.sha256 for name, driver in available_drivers().items()}
    return {each["driver"]: each["sha256"] for each in json.loads(run([agent, "devices", "--json"]))["drivers"]}
