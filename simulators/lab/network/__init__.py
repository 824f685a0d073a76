"""Nodes in network namespaces, with packets between them: what trust and rotations do to traffic."""
