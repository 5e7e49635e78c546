"""The address of a deployment: what comes in is passed on to the server that is current when it comes.

A process of its own, so that the address stays when the server behind it is another one:

    python -m ops.deploy.front FOLDER PORT
"""

import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path

from ops.deploy.state import read
from steps.contracts.errors import AssayError

_HOST = "127.0.0.1"
_PIECE = 64 << 10
# Nothing behind it: the server is down, or was undeployed.
_BODY = b'{"error": {"message": "no server behind this address"}}'
_NOBODY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nRetry-After: 5\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until one side says no more."""
    with suppress(OSError):
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()


class _Front:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def connected(self, source: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """One connection, to the server that is current now; it stays there while it lasts."""
        try:
            server = await self._server()
            if server is None:
                # What was asked is read first: a reset would reach the client before the answer.
                with suppress(TimeoutError):
                    await asyncio.wait_for(source.read(_PIECE), 1)
                client.write(_NOBODY)
                await client.drain()
                return
            reader, writer = server
            try:
                await asyncio.gather(_pass_on(source, writer), _pass_on(reader, client))
            finally:
                writer.close()
        except OSError:
            pass
        finally:
            client.close()

    async def _server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            deployment = read(self._folder)
        except (AssayError, OSError):
            return None
        if deployment is None:
            return None
        try:
            return await asyncio.open_connection(_HOST, deployment.current.port)
        except OSError:
            return None


async def _serve(folder: Path, port: int) -> None:
    server = await asyncio.start_server(_Front(folder).connected, _HOST, port)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, ended.set)
    async with server:
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
