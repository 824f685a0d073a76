"""Drivers of real devices, one module per family, each behind an interface of `hal`.

A driver is found by entry point (`hal.load_driver`), never imported by name; so nothing is offered here.
"""

__all__: list[str] = []
