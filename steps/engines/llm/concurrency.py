"""Requests side by side, so many at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from steps.contracts.errors import AssayError

Item = TypeVar("Item")


async def each(items: Sequence[Item], ask: Callable[[Item], Awaitable[None]], at_once: int) -> None:
    """Await `ask` of every item, begun in their order. The first error ends the others; ours go before anybody's."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await ask(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(items))):
                group.create_task(work())
    except BaseExceptionGroup as several:
        known = next((e for e in several.exceptions if isinstance(e, AssayError)), None)
        raise known or several.exceptions[0] from None
