"""The authority's database: one writer thread, one transaction per action."""

from authority.store import schema, schema_api, schema_break_glass, schema_fleet, schema_orders
from authority.store.database import Store
from authority.store.unavailable import StoreUnavailable

__all__ = ["Store", "StoreUnavailable", "schema", "schema_api", "schema_break_glass", "schema_fleet", "schema_orders"]
