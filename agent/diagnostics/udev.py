"""The shipped udev rules, and what they say about USB readers (udev(7))."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

RULES_FILE = "60-keyvigil.rules"
INSTALL_RULES = (
    f"Install the udev rules: keyvigil devices --udev-rules | sudo tee /etc/udev/rules.d/{RULES_FILE} "
    "&& sudo udevadm control --reload && sudo udevadm trigger"
)
_READER = re.compile(
    r'ATTR\{idVendor\}=="([0-9a-f]{4})".*ATTR\{idProduct\}=="([0-9a-f]{4})".*ENV\{ID_KEYVIGIL\}="([\w-]+)"'
)


def rules_text() -> str:
    """The rules file as it is shipped."""
    return files("agent").joinpath("data", RULES_FILE).read_text(encoding="utf-8")


def known_readers() -> Mapping[tuple[str, str], str]:
    """Vendor and product (four hexadecimal digits each) of the USB readers that a driver of ours knows, by its name."""
    found = (_READER.search(line) for line in rules_text().splitlines() if not line.startswith("#"))
    return {(match[1], match[2]): match[3] for match in found if match}
