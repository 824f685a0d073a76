"""A receiver of alerts by HTTP that notes each, durably enough to outlive its own death, before it answers.

python benchmarks/alert_receiver.py PORT FILE
"""

from __future__ import annotations

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Receiver(HTTPServer):
    """Writes `webhook-id`s to `log`."""

    allow_reuse_address = True

    def __init__(self, port: int, log: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.log = log


class Handler(BaseHTTPRequestHandler):
    """One sender, who keeps the connection."""

    protocol_version = "HTTP/1.1"
    server: Receiver

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        os.write(self.server.log, (self.headers["webhook-id"] + "\n").encode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


if __name__ == "__main__":
    made = Receiver(int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    print("ready", flush=True)
    made.serve_forever()
