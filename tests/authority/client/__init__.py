"""The client of the open API."""
