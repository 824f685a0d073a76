"""A polkit authority that permits or refuses: what the system daemons ask before they serve somebody.

Source: org.freedesktop.PolicyKit1.Authority, polkit reference manual.
"""

from __future__ import annotations

from typing import ClassVar

from simulators.devices.dbus import BusService, Call, PrivateBus, Refusal, Reply
from simulators.devices.faults import Fault

AUTHORITY = "org.freedesktop.PolicyKit1"
_INTERFACE = "org.freedesktop.PolicyKit1.Authority"


class PolkitAuthority(BusService):
    """Permits every action that is not in `refused`; `asked` are the actions that it was asked about, in order."""

    faults: ClassVar[frozenset[Fault]] = frozenset({Fault.STALL, Fault.SLOW, Fault.SERVER_DEATH})

    def __init__(self, bus: PrivateBus) -> None:
        self.refused: frozenset[str] = frozenset()
        self.asked: list[str] = []
        super().__init__(bus, AUTHORITY)

    def answer(self, call: Call) -> Reply:
        """CheckAuthorization, and the properties that the client library reads first."""
        if call.member == "GetAll" and call.body == (_INTERFACE,):
            properties = {"BackendName": ("s", "keyvigil"), "BackendVersion": ("s", "0"), "BackendFeatures": ("u", 0)}
            return Reply("a{sv}", (properties,))
        if (call.interface, call.member) != (_INTERFACE, "CheckAuthorization"):
            raise Refusal("org.freedesktop.DBus.Error.UnknownMethod", f"no {call.member}")
        action = str(call.body[1])
        self.asked.append(action)
        return Reply("(bba{ss})", ((action not in self.refused, False, {}),))
