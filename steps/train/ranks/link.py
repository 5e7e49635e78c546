"""What two machines that train together tell each other: JSON, a line each, over TCP.

A process that ends closes its side at once; a machine that vanishes is noticed by TCP's own probes. What is said to one
that is gone gets lost: whoever listens next learns of it.
"""

import json
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from steps.contracts.errors import ServiceError

# Chosen: an idle connection is probed after 10 s, three times, every 5 s; so late a machine is known to be gone.
_PROBES = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}
# Chosen: beyond it this isn't one of ours.
_MOST_BYTES = 1 << 24


class Link:
    """One end of a connection. `peer`: who is at the other, for people."""

    def __init__(self, connection: socket.socket, peer: str) -> None:
        self.connection, self.peer = connection, peer
        self._rest, self._inbox = b"", deque[dict[str, Any]]()
        connection.setblocking(True)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def fileno(self) -> int:
        """For selectors."""
        return self.connection.fileno()

    @property
    def here(self) -> str:
        """The address of this end."""
        return str(self.connection.getsockname()[0])

    def say(self, **what: Any) -> None:
        """Tell the other end."""
        with suppress(OSError):
            self.connection.sendall(json.dumps(what).encode() + b"\n")

    def take(self, seconds: float | None) -> dict[str, Any] | None:
        """What was told next; None: nothing within so many seconds (None: whenever it comes).

        Raises:
            ServiceError: nobody is at the other end any more.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while not self._inbox:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([self.connection], [], [], left)[0]:
                return None
            self._read()
        return self._inbox.popleft()

    def waiting(self) -> Iterator[dict[str, Any]]:
        """All that was told by now."""
        while (said := self.take(0.0)) is not None:
            yield said

    def close(self) -> None:
        """End the connection."""
        self.connection.close()

    def _read(self) -> None:
        try:
            data = self.connection.recv(1 << 16)
        except OSError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            self._inbox.extend(_object(line) for line in lines)
        except ValueError:
            data = b""
        if not data or len(self._rest) > _MOST_BYTES:
            raise ServiceError(
                "is gone: its process has ended, or the network to it", where=self.peer,
                hint="what it has said last says more; a run goes on from its last checkpoint",
            )  # fmt: skip


def _object(line: bytes) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found
