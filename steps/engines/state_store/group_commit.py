"""Lines of many writers in few transactions: none waits for another one's turn."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Line = TypeVar("Line")


class GroupCommit(Generic[Line]):
    """Writes in a thread what has come together while the write before was under way; within one event loop."""

    def __init__(
        self, write: Callable[[list[Line]], None], hand_over: Callable[[], None], pause_seconds: float = 0.0
    ) -> None:
        """`hand_over` is called when lines are taken, `write` with them; it returns when they are where they last.
        `pause_seconds`: time between two writes, in which more lines come together.
        """
        self._write, self._hand_over, self._pause = write, hand_over, pause_seconds
        self._lines: list[Line] = []
        self._waiting: asyncio.Future[None] | None = None
        self._under_way: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    def add(self, line: Line) -> None:
        """Have it written soon.

        Raises: what `write` has raised for an earlier line.
        """
        if self._error is not None:
            raise self._error
        self._lines.append(line)
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def fail(self, error: Exception) -> None:
        """Nothing can be written any more: told to whoever adds or waits."""
        self._error = self._error or error

    async def written(self) -> None:
        """Returns when all that was added before is written.

        Raises: what `write` has raised.
        """
        last = self._waiting or self._under_way
        if last is not None:
            await asyncio.shield(last)
        if self._error is not None:
            raise self._error

    async def _run(self) -> None:
        while self._waiting is not None and self._error is None:
            lines, self._lines = self._lines, []
            done = self._under_way = self._waiting
            self._waiting = None
            self._hand_over()
            try:
                await asyncio.to_thread(self._write, lines)
            except Exception as error:  # noqa: BLE001 - told to whoever adds or waits
                self._error = error
            done.set_result(None)
            if self._pause and self._waiting is not None:
                await asyncio.sleep(self._pause)
        if self._waiting is not None:
            self._waiting.set_result(None)
        self._task = self._under_way = None
