"""A filesystem in user space (FUSE) over the kernel's own interface, for devices that are files with a will.

Protocol: include/uapi/linux/fuse.h, 7.31. Only what a tree of directories and small attribute files needs is answered;
nothing is cached, so that every access reaches the simulated device. Mounting takes the right to mount.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from hal import PermissionDenied

_LOOKUP, _FORGET, _GETATTR, _SETATTR, _MKDIR, _RMDIR, _OPEN, _READ, _WRITE = 1, 2, 3, 4, 9, 11, 14, 15, 16
_STATFS, _RELEASE, _FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _ACCESS = 17, 18, 25, 26, 27, 28, 29, 34
_INTERRUPT, _DESTROY, _BATCH_FORGET = 36, 38, 42
_SILENT = frozenset({_FORGET, _BATCH_FORGET, _INTERRUPT})
_HEADER, _ANSWER = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")
_ATTRIBUTES, _ENTRY, _ATTRIBUTES_VALID = struct.Struct("<6Q10I"), struct.Struct("<4Q2I"), struct.Struct("<Q2I")
_DIRECT_IO = 1
_LARGEST_REQUEST = 1 << 17
_MOST_BYTES = 1 << 16
_DETACH = 2
_ROOT = 1


class Tree(Protocol):
    """The device. Paths are tuples of names below the mount; failures are raised as `OSError` with an errno."""

    def kind(self, path: tuple[str, ...]) -> int:
        """File type and permissions (`st_mode`)."""
        ...

    def names(self, path: tuple[str, ...]) -> list[str]:
        """What a directory holds."""
        ...

    def mkdir(self, path: tuple[str, ...]) -> None:
        """Make a directory, with whatever the device puts into it."""
        ...

    def rmdir(self, path: tuple[str, ...]) -> None:
        """Remove a directory with whatever the device put into it."""
        ...

    def open(self, path: tuple[str, ...]) -> OpenFile:
        """Begin to read or write a file."""
        ...


class OpenFile(Protocol):
    """A file between open and close."""

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; none at the end."""
        ...

    def write(self, offset: int, data: bytes) -> int:
        """How many bytes were taken."""
        ...

    def flush(self) -> None:
        """The writer closes the file: what was written takes effect."""
        ...


class FuseMount:
    """A `Tree` mounted at `folder` (which must exist) and served by a thread of its own; a context manager."""

    def __init__(self, tree: Tree, folder: Path) -> None:
        """Mount; raises `PermissionDenied` where that is not allowed."""
        self._tree = tree
        self._folder = folder
        self._paths: dict[int, tuple[str, ...]] = {_ROOT: ()}
        self._files: dict[int, OpenFile] = {}
        self._next = 1
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._device = _mount(self._libc, folder)
        self._thread = threading.Thread(target=self._serve, name=f"fuse {folder}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Unmount, and end the thread; closing twice is allowed."""
        device, self._device = self._device, -1
        if device < 0:
            return
        self._libc.umount2(os.fsencode(self._folder), _DETACH)
        self._thread.join(5.0)
        os.close(device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self) -> None:
        device = self._device
        while True:
            try:
                request = os.read(device, _LARGEST_REQUEST + 4096)
            except OSError as error:
                if error.errno in {errno.EINTR, errno.ENOENT, errno.EAGAIN}:
                    continue
                return
            _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
            if opcode in _SILENT:
                continue
            self._reply(device, unique, opcode, node, request[_HEADER.size :])
            if opcode == _DESTROY:
                return

    def _reply(self, device: int, unique: int, opcode: int, node: int, body: bytes) -> None:
        failure, answer = 0, b""
        handler = self._handlers().get(opcode)
        try:
            if handler is None:
                raise OSError(errno.ENOSYS, "not answered")
            answer = handler(node, body)
        except OSError as error:
            failure = -(error.errno or errno.EIO)
        try:
            os.write(device, _ANSWER.pack(_ANSWER.size + len(answer), failure, unique) + answer)
        except OSError as error:
            if error.errno != errno.ENOENT:  # the one who asked was interrupted meanwhile
                raise

    def _handlers(self) -> dict[int, Callable[[int, bytes], bytes]]:
        return {
            _INIT: self._init,
            _LOOKUP: self._lookup,
            _GETATTR: self._getattr,
            _SETATTR: self._getattr,
            _MKDIR: self._mkdir,
            _RMDIR: self._rmdir,
            _OPEN: self._open_file,
            _READ: self._read,
            _WRITE: self._write,
            _FLUSH: self._flush,
            _RELEASE: self._release,
            _OPENDIR: lambda _node, _body: struct.pack("<QII", 0, 0, 0),
            _READDIR: self._readdir,
            _RELEASEDIR: lambda _node, _body: b"",
            _STATFS: lambda _node, _body: bytes(80),
            _ACCESS: lambda _node, _body: b"",
            _DESTROY: lambda _node, _body: b"",
        }

    @staticmethod
    def _init(_node: int, body: bytes) -> bytes:
        readahead = struct.unpack_from("<IIII", body)[2]
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, readahead, 0, 8, 6, _MOST_BYTES, 1, 0, 0, 0, *(0,) * 7)

    def _lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(self._below(node, _name(body)))

    def _getattr(self, node: int, _body: bytes) -> bytes:
        return _ATTRIBUTES_VALID.pack(0, 0, 0) + self._attributes(node, self._path(node))

    def _mkdir(self, node: int, body: bytes) -> bytes:
        path = self._below(node, _name(body[8:]))
        self._tree.mkdir(path)
        return self._entry(path)

    def _rmdir(self, node: int, body: bytes) -> bytes:
        self._tree.rmdir(self._below(node, _name(body)))
        return b""

    def _open_file(self, node: int, _body: bytes) -> bytes:
        handle = self._number()
        self._files[handle] = self._tree.open(self._path(node))
        return struct.pack("<QII", handle, _DIRECT_IO, 0)

    def _read(self, _node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return self._files[handle].read(offset, size)

    def _write(self, _node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", self._files[handle].write(offset, body[40 : 40 + size]), 0)

    def _flush(self, _node: int, body: bytes) -> bytes:
        self._files[struct.unpack_from("<Q", body)[0]].flush()
        return b""

    def _release(self, _node: int, body: bytes) -> bytes:
        self._files.pop(struct.unpack_from("<Q", body)[0], None)
        return b""

    def _readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        out = b""
        for number, name in enumerate(self._tree.names(self._path(node))[offset:], offset + 1):
            raw = os.fsencode(name)
            record = struct.pack("<QQII", number + 1, number, len(raw), 0) + raw
            record += bytes(-len(record) % 8)
            if len(out) + len(record) > size:
                break
            out += record
        return out

    def _entry(self, path: tuple[str, ...]) -> bytes:
        self._tree.kind(path)
        known = next((number for number, other in self._paths.items() if other == path), None)
        node = known if known is not None else self._number()
        self._paths[node] = path
        return _ENTRY.pack(node, 0, 0, 0, 0, 0) + self._attributes(node, path)

    def _attributes(self, node: int, path: tuple[str, ...]) -> bytes:
        mode = self._tree.kind(path)
        links = 2 if stat.S_ISDIR(mode) else 1
        size = 0 if stat.S_ISDIR(mode) else 4096
        return _ATTRIBUTES.pack(node, size, 0, 0, 0, 0, 0, 0, 0, mode, links, os.geteuid(), os.getegid(), 0, 4096, 0)

    def _path(self, node: int) -> tuple[str, ...]:
        if node not in self._paths:
            raise OSError(errno.ESTALE, "gone")
        return self._paths[node]

    def _below(self, node: int, name: str) -> tuple[str, ...]:
        return (*self._path(node), name)

    def _number(self) -> int:
        self._next += 1
        return self._next


def _name(raw: bytes) -> str:
    return os.fsdecode(raw.partition(b"\0")[0])


def _mount(libc: ctypes.CDLL, folder: Path) -> int:
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise _not_allowed(error.strerror or "") from None
    options = f"fd={device},rootmode=40755,user_id={os.geteuid()},group_id={os.getegid()}".encode()
    if libc.mount(b"keyvigil", os.fsencode(folder), b"fuse", 0, options) != 0:
        os.close(device)
        raise _not_allowed(os.strerror(ctypes.get_errno()))
    return device


def _not_allowed(why: str) -> PermissionDenied:
    return PermissionDenied(
        f"a filesystem in user space cannot be mounted: {why}",
        remedy="Run as root in a container with /dev/fuse, or leave this simulator out.",
    )
