"""Devices emulated at their own wire level, and the people who use them; never part of a production node."""

__all__: list[str] = []
