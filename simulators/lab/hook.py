"""The prompt hook of a simulated node: hands what the agent says to the station. Only the standard library, for speed.

Run as a script: `python -I -S hook.py SOCKET` with the message on standard input. Exit status 1: nobody is there.
"""

import json
import socket
import sys

CONTROL_SOCKET = "control"
"""Name of the socket in the folder of a station or bench."""


def ask(path: str, command: dict[str, object], timeout: float = 120.0) -> dict[str, object]:
    """The station's answer to one command."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(timeout)
        link.connect(path)
        link.sendall(json.dumps(command).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            part = link.recv(65536)
            if not part:
                raise ConnectionError("the station closed the connection")
            answer += part
    found: dict[str, object] = json.loads(answer)
    return found


def main(arguments: list[str]) -> int:
    """Status 0 when the person at the station does what was asked."""
    try:
        answer = ask(arguments[0], {"op": "hear", "message": json.load(sys.stdin)})
    except (OSError, ValueError, IndexError) as error:
        sys.stderr.write(f"hook: {error}\n")
        return 2
    return 0 if answer.get("present") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
