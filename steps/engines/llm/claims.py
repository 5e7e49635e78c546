"""Which process asks a question: of several that want the same reply at once, one buys it and the others wait for it.

A process claims a question in the cache of replies shortly before it asks, and waits for what others have claimed only
when it has none left of its own: so none waits for one that waits for it. A claim ends with the reply, with a failure,
or with its process: when that is dead (its journal is no longer locked, however it died, also in another container),
or has given no sign of life for the lease.
"""

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterable
from contextlib import suppress

from steps.contracts.errors import AssayError
from steps.engines.llm.cache import Before, ReplyCache
from steps.engines.llm.client import Reply

# Chosen: a process that goes on gives a sign six times as often, and is late at half of it.
LEASE_SECONDS = 60.0
# Chosen: between two looks at what others have claimed; the longest pause, but for looks that take long themselves.
_LOOK_SECONDS, _LONGEST_PAUSE, _PAUSE_PER_LOOK = 0.05, 0.5, 10.0


class Claims:
    """The claims of one session, within its event loop, by which its process is known to the others."""

    def __init__(self, cache: ReplyCache) -> None:
        self._cache = cache
        # Of other processes: the last sign of life, and when it was first seen by this one's clock.
        self._signs: dict[str, tuple[float, float]] = {}
        self._shown, self._lapses = time.monotonic(), 0

    async def keep_up(self) -> None:
        """Give signs of life, until it is cancelled."""
        while True:
            self._show()
            await asyncio.sleep(LEASE_SECONDS / 6)

    def lapses(self) -> int:
        """How often this process was still for so long that others may have taken its claims."""
        if time.monotonic() - self._shown > LEASE_SECONDS / 2:
            self._show()
        return self._lapses

    def _show(self) -> None:
        self._cache.touch()
        before, self._shown = self._shown, time.monotonic()
        self._lapses += self._shown - before > LEASE_SECONDS / 2

    def of(self, before: Before, at_once: int) -> "Claimed":
        """Those of these questions that can be claimed, as they are wanted by so many at once."""
        return Claimed(self, before, at_once)

    async def claim(self, before: Before) -> tuple[dict[str, Reply], dict[str, str]]:
        """As `ReplyCache.claim`; claims that have ended otherwise are this process's."""
        assert self._cache.me  # before it is needed in a thread
        return await asyncio.to_thread(self._claim, before)

    def _claim(self, before: Before) -> tuple[dict[str, Reply], dict[str, str]]:
        found, held = self._cache.claim(before)
        if gone := self._gone(held.values()):
            more, still = self._cache.claim({k: before[k] for k, process in held.items() if process in gone}, gone)
            found |= more
            held = {k: process for k, process in held.items() if process not in gone} | still
        return found, held

    async def ended(self, before: Before) -> tuple[dict[str, Reply], list[str]]:
        """Wait until claims of others on some of these have ended: the replies, and the questions without one."""
        pause = _LOOK_SECONDS
        while True:
            await asyncio.sleep(pause)
            start = time.monotonic()
            found, free = await asyncio.to_thread(self._look, before)
            if found or free:
                return found, free
            pause = max(min(2 * pause, _LONGEST_PAUSE), _PAUSE_PER_LOOK * (time.monotonic() - start))

    def _look(self, before: Before) -> tuple[dict[str, Reply], list[str]]:
        found, held = self._cache.claimed(before)
        gone = self._gone(held.values())
        return found, [key for key in before if key not in found and (key not in held or held[key] in gone)]

    def _gone(self, processes: Iterable[str]) -> Collection[str]:
        return {process for process in set(processes) if self._is_gone(process)}

    def _is_gone(self, process: str) -> bool:
        sign, now = self._cache.last_sign(process), time.monotonic()
        if sign is None:
            return True
        last, seen = self._signs.get(process, (None, now))
        if sign != last:
            self._signs[process] = (sign, now)
            return False
        return now - seen > LEASE_SECONDS

    async def release(self, keys: Collection[str]) -> None:
        """These won't be bought by this session."""
        if keys:
            await asyncio.to_thread(self._cache.release, keys)


class Claimed:
    """Questions handed out one by one, each claimed shortly before.

    Attributes:
        found: replies that others had bought meanwhile. held: questions that others have claimed, so far.
    """

    def __init__(self, claims: Claims, before: Before, at_once: int) -> None:
        self.found: dict[str, Reply] = {}
        self.held: list[str] = []
        self._claims, self._before, self._at_once = claims, before, at_once
        self._left = deque(before)
        # With the number of lapses when they were claimed.
        self._ready: deque[tuple[int, str]] = deque()
        self._mine: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    async def next(self) -> str | None:
        """The next one; None: there is none that this process may ask."""
        while True:
            if self._task is not None and self._task.done():
                self._task.result()
                self._task = None
            if self._task is None and self._left and len(self._ready) < self._at_once:
                self._task = asyncio.create_task(self._more())
            if self._ready:
                lapses, key = self._ready.popleft()
                if lapses == self._claims.lapses():
                    return key
                self._left.append(key)
            elif self._task is None:
                return None
            else:
                await asyncio.wait([self._task])

    async def rest(self) -> list[str]:
        """All that are left."""
        keys = []
        while (key := await self.next()) is not None:
            keys.append(key)
        return keys

    async def _more(self) -> None:
        keys = [self._left.popleft() for _ in range(min(2 * self._at_once, len(self._left)))]
        part = {key: self._before[key] for key in keys}
        lapses = self._claims.lapses()
        found, held = await self._claims.claim(part)
        self.found |= found
        self.held += held
        mine = [key for key in keys if key not in found and key not in held]
        self._mine.update(mine)
        self._ready.extend((lapses, key) for key in mine)

    async def close(self, replied: Collection[str]) -> None:
        """Give up the claims on what got no reply."""
        with suppress(AssayError):  # whoever was handed a question was told; claims end with the process anyway
            if self._task is not None:
                await self._task
            await self._claims.release([key for key in self._mine if key not in replied])
