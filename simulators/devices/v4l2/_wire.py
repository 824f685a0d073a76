"""The kernel's place between a program and a simulated node, taken by umockdev's preload library.

A program that runs with `libumockdev-preload.so.0` (0.16 or later) opens a stream socket to
`$UMOCKDEV_DIR/ioctl/dev/NODE` for every descriptor of that node, and closes it with the descriptor. Each ioctl is sent
there as three native unsigned longs: 1, the request, the address of the argument. The answer may ask for memory of
the program (5, address, length: the bytes follow), write it (6, address, length, the bytes), and ends the call (3, the
result, errno). Requests 7 and 8 are read(2) and write(2) on the node. Speaking this directly needs neither GLib nor
its Python bindings in the simulator's process, and lets an ioctl wait in a thread of its own.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_MESSAGE = struct.Struct("@LLL")
_IOCTL, _DONE, _READ_MEMORY, _WRITE_MEMORY = 1, 3, 5, 6
_LONG_MASK = (1 << (8 * struct.calcsize("@L"))) - 1
_FAREWELL_SECONDS = 1.0
_SIZE_SHIFT, _SIZE_MASK = 16, 0x3FFF


class OpenFile(Protocol):
    """The device's side of one descriptor of a program."""

    def ioctl(self, request: int, argument: bytearray) -> None:
        """Serve one ioctl by changing `argument` in place; raises `OSError` with the errno that the program gets."""
        ...

    def release(self) -> None:
        """The descriptor was closed, or its program ended."""
        ...


class IoctlServer:
    """Serves the descriptors of one node at the socket `path`, each in a thread of its own."""

    def __init__(self, path: Path, opened: Callable[[], OpenFile]) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._peers: dict[socket.socket, threading.Thread] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, name="v4l2-accept", daemon=True)
        self._thread.start()

    @property
    def descriptors(self) -> int:
        """How many descriptors of the node are open in programs."""
        with self._lock:
            return len(self._peers)

    def close(self) -> None:
        """Take no further descriptors, and wait a second for the open ones to be closed.

        One that stays open is served on: the preload library aborts a program whose ioctl gets no answer.
        """
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        limit = time.monotonic() + _FAREWELL_SECONDS
        with self._lock:
            threads = list(self._peers.values())
        for thread in threads:
            thread.join(max(0, limit - time.monotonic()))

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(peer,), name="v4l2-descriptor", daemon=True)
            with self._lock:
                self._peers[peer] = thread
            thread.start()

    def _serve(self, peer: socket.socket) -> None:
        file = self._opened()
        try:
            while True:
                _answer(peer, file)
        except (EOFError, OSError):
            return
        finally:
            file.release()
            with self._lock:
                del self._peers[peer]
            peer.close()


def _answer(peer: socket.socket, file: OpenFile) -> None:
    kind, request, address = _MESSAGE.unpack(_exactly(peer, _MESSAGE.size))
    code = _serve_ioctl(peer, file, request & 0xFFFFFFFF, address) if kind == _IOCTL else errno.EINVAL
    peer.sendall(_MESSAGE.pack(_DONE, _LONG_MASK if code else 0, code))


def _serve_ioctl(peer: socket.socket, file: OpenFile, request: int, address: int) -> int:
    """Fetch the argument, serve, and write it back where the kernel would; the errno, 0 on success."""
    size = request >> _SIZE_SHIFT & _SIZE_MASK
    argument = bytearray(size)
    if size and not address:
        return errno.EFAULT
    if size:
        peer.sendall(_MESSAGE.pack(_READ_MEMORY, address, size))
        argument[:] = _exactly(peer, size)
    try:
        file.ioctl(request, argument)
    except OSError as error:
        return error.errno or errno.EIO
    if size:
        peer.sendall(_MESSAGE.pack(_WRITE_MEMORY, address, size) + argument)
    return 0


def _exactly(peer: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = peer.recv(size - len(data))
        if not part:
            raise EOFError("the descriptor was closed")
        data += part
    return bytes(data)
