"""A message bus of one's own, and behaving services on it, for drivers whose device another daemon holds."""

from simulators.devices.dbus._bus import PrivateBus
from simulators.devices.dbus._service import BusService, Call, Refusal, Reply

__all__ = ["BusService", "Call", "PrivateBus", "Refusal", "Reply"]
