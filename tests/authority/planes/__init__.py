"""Tests of the two planes, over real sockets where the wire matters."""
