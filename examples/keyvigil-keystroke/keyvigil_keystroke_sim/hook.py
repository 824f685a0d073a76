"""A prompt hook for a simulated node that also has a keyboard. Only the standard library; run with `python -I -S`.

`hook.py KEYBOARD OTHER`: what concerns typing goes to the control socket KEYBOARD, everything else to OTHER, which
speaks the same way (the station of keyvigil-lab).
"""

import json
import socket
import sys


def ask(path: str, order: dict[str, object]) -> dict[str, object]:
    """The answer to one order."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(60)
        link.connect(path)
        link.sendall(json.dumps(order).encode() + b"\n")
        with link.makefile("rb") as answers:
            found: dict[str, object] = json.loads(answers.readline())
    return found


def main(keyboard: str, other: str) -> int:
    """Status 0 when the person does what was asked."""
    message = json.load(sys.stdin)
    path = keyboard if message.get("step") == "keystroke" else other
    return 0 if ask(path, {"op": "hear", "message": message}).get("present") else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
