"""The two planes: what nodes speak, and what operators speak."""

from authority.planes.hub import Hub
from authority.planes.node_plane import create_node_app
from authority.planes.tls import PlaneServer, node_server, operator_server

__all__ = ["Hub", "PlaneServer", "create_node_app", "node_server", "operator_server"]
