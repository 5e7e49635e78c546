"""How many requests are in flight at once, as the server bears it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from steps.engines.llm.endpoint import Connection

# Chosen: what `auto` begins with.
_FIRST = 8
# Chosen: so many times as fast must replies come, that twice as many requests are worth it.
_PAYS = 1.2
# Chosen: the time that so many replies take is no chance.
_LEAST_MEASURED = 32
# Chosen: measurements until `auto` tries again whether more would pay.
_ROUNDS_BETWEEN_TRIES = 50


@dataclass(frozen=True)
class Place:
    """A request in flight. `since`: how often the limit had fallen when it was sent."""

    since: int


class Limit:
    """At most `concurrency` requests at once, in the order in which they came.

    A server that has too much to do (429, 503, no answer in time) halves the number, once for all that was in flight;
    as many replies as there are requests at once bring it up by one. Where concurrency is auto, it begins with 8, and
    doubles for as long as replies come faster for it. While a server has asked for patience nothing is sent.
    """

    def __init__(self, connection: Connection) -> None:
        auto = connection.concurrency == "auto"
        self.most = connection.most_at_once
        self.now = _FIRST if auto else self.most
        self._longest_hold = connection.max_retry_after_seconds
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._hold_until = 0.0
        self._falls = 0
        self._replies = 0
        self._measured = Measured(self.now) if auto else None

    async def enter(self) -> Place:
        """Wait for a place."""
        while self._in_flight >= self.now or self._hold_until:
            await self._hold() if self._hold_until else await self._turn()
        self._in_flight += 1
        return Place(self._falls)

    async def _hold(self) -> None:
        left = self._hold_until - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)
        elif self._hold_until:
            self._hold_until = 0.0

    async def _turn(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._call_next()
            raise

    def leave(self, replied: bool) -> None:
        """A request has ended; `replied`: with a whole answer."""
        self._in_flight -= 1
        if replied:
            self._replies += 1
            if self._measured is not None:
                self.now = self._measured.wanted(self.now, self.most, bool(self._waiting))
            elif self._replies >= self.now < self.most:
                self.now, self._replies = self.now + 1, 0
        self._call_next()

    def _call_next(self) -> None:
        called = 0
        while self._waiting and self._in_flight + called < self.now:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                called += 1

    def busy(self, place: Place, wait: float | None) -> None:
        """The server had too much to do for a request; `wait`: the seconds that it asked for."""
        if wait is not None and wait <= self._longest_hold:
            self._hold_until = max(self._hold_until, time.monotonic() + wait)
        if place.since == self._falls:
            self._falls += 1
            self.now, self._replies = max(self.now // 2, 1), 0
            # What it bears is known now: no more doubling.
            self._measured = None


class Measured:
    """Whether twice as many requests at once give replies faster: by the time that rounds of replies take."""

    def __init__(self, now: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._growing, self._rate, self._settled = True, 0.0, now
        self._begin()
        self._rounds = 0

    def _begin(self) -> None:
        self._seen, self._start = 0, 0.0

    def wanted(self, now: int, most: int, full: bool) -> int:
        """The number from here on, after one more reply. `full`: further requests wait for a place."""
        self._seen += 1
        if not full:
            self._begin()
            return now
        # The replies of a first round were still asked for under the number before.
        if self._seen == now:
            self._start = self._clock()
        measured = max(2 * now, _LEAST_MEASURED)
        if self._seen < now + measured:
            return now
        rate = measured / max(self._clock() - self._start, 1e-9)
        self._begin()
        return self._next(now, most, rate)

    def _next(self, now: int, most: int, rate: float) -> int:
        if not self._growing:
            self._rounds += 1
            self._growing = self._rounds % _ROUNDS_BETWEEN_TRIES == 0 and now < most
            self._rate, self._settled = rate, now
            return min(2 * now, most) if self._growing else now
        if rate < _PAYS * self._rate:
            self._growing = False
            return self._settled
        self._rate, self._settled = rate, now
        self._growing = now < most
        return min(2 * now, most)
