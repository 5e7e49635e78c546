"""Requests side by side, so many at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from steps.contracts.errors import AssayError

Item = TypeVar("Item")


async def each(items: Sequence[Item], ask: Callable[[Item], Awaitable[None]], at_once: int) -> None:
    """Await `ask` of every item, begun in their order. The first error ends the others; ours go before anybody's."""
    waiting = iter(items)

    async def following() -> Item | None:
        return next(waiting, None)

    await each_of(following, ask, min(at_once, len(items)))


async def each_of(
    following: Callable[[], Awaitable[Item | None]], ask: Callable[[Item], Awaitable[None]], at_once: int
) -> None:
    """As `each`, of items that come one by one, until there is None."""

    async def work() -> None:
        while (item := await following()) is not None:
            await ask(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except BaseExceptionGroup as several:
        known = next((e for e in several.exceptions if isinstance(e, AssayError)), None)
        raise known or several.exceptions[0] from None
