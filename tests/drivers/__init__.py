"""Tests of the drivers, against devices that speak the real wire."""
