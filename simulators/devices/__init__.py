"""Device models: the far end of a driver's wire, written from the device's side and sharing no code with a driver."""

__all__: list[str] = []
