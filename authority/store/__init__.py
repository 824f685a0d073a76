"""The authority's database: one writer thread, one transaction per action."""

from authority.store import schema, schema_api
from authority.store.database import Store, StoreUnavailable

__all__ = ["Store", "StoreUnavailable", "schema", "schema_api"]
