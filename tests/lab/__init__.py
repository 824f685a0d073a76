"""Unit tests of the lab; whole sites run in tests/system."""
