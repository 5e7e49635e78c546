"""Requests to one OpenAI-compatible server: sent again while that can help, counted, and ended when it is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from steps.contracts.errors import ServiceError
from steps.engines.llm.adaptation import shown
from steps.engines.llm.endpoint import Connection
from steps.engines.llm.http import Http, StatusError, UnreachableError
from steps.engines.llm.limit import Limit
from steps.engines.llm.retry import BUSY, FAILURES, asked_wait, is_transient, seconds_before

T = TypeVar("T")

# Errors that name the whole endpoint: every further request would meet them too.
_FATAL = {
    401: "the server refuses the API key",
    402: "the server asks for payment",
    403: "the server forbids the request",
    404: "the server knows no such address or model",
}
# Failures that say nothing about the row: the server is away, busy or broken.
SERVER_FAILURES = frozenset({"timeout", "connection", "rate_limited", "server_error", "bad_response"})


@dataclass(frozen=True)
class Failure:
    """No reply. `reason` is one of timeout, connection, rate_limited, server_error, bad_response, bad_request.

    `detail` holds the exception's class, the status and the server's param and code, never its message (it may repeat
    the row).
    """

    reason: str
    detail: str
    seconds: float
    attempts: int


class Caller:
    """Sends requests to one server; use it as an async context manager within one event loop.

    requests: HTTP requests sent, failed attempts included. replies: whole replies received.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.requests = 0
        self.replies = 0
        self._failed_in_a_row = 0
        self.limit = Limit(connection)
        self._http = Http(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def send(self, call: Callable[[Http], Awaitable[T]]) -> tuple[T, int]:
        """What `call` makes of the server, and the number of attempts; ValueError: it isn't what was asked for.

        A request that waits to be sent again leaves its place among those in flight to another one.

        Raises: what the last attempt raised (one of FAILURES).
        """
        c, attempt = self.connection, 1
        while True:
            try:
                return await self._once(call), attempt
            except FAILURES as error:
                if attempt >= c.max_attempts or not is_transient(error, c):
                    raise
                attempt += 1
                await asyncio.sleep(seconds_before(attempt, error, c))

    async def _once(self, call: Callable[[Http], Awaitable[T]]) -> T:
        place, replied = await self.limit.enter(), False
        try:
            self.requests += 1
            async with asyncio.timeout(self.connection.timeout_seconds):
                reply = await call(self._http)
            replied = True
            return reply
        except (StatusError, TimeoutError) as error:
            if isinstance(error, TimeoutError) or error.status in BUSY:
                self.limit.busy(place, asked_wait(error))
            raise
        finally:
            self.limit.leave(replied)

    def succeeded(self) -> None:
        """Count a whole reply; the server is there."""
        self._failed_in_a_row = 0
        self.replies += 1

    def failed(self, error: Exception, seconds: float, attempts: int) -> Failure:
        """What a failed request comes to.

        Raises:
            ServiceError: the server as a whole doesn't work: bad key, unknown model, spent quota, or
                `give_up_after` requests in a row without a working server.
        """
        status = getattr(error, "status", None)
        if status in _FATAL or getattr(error, "code", None) == "insufficient_quota":
            raise self._fatal(status, error)
        reason = _reason(error)
        self._failed_in_a_row = self._failed_in_a_row + 1 if reason in SERVER_FAILURES else 0
        if self._failed_in_a_row >= self.connection.give_up_after:
            raise self._gone(reason)
        return Failure(reason, shown(error), seconds, attempts)

    def _fatal(self, status: int | None, error: Exception) -> ServiceError:
        what = _FATAL.get(status or 0, "the server says that the quota is spent")
        return ServiceError(
            f"{what} ({shown(error)}; model {self.connection.model!r})",
            where=self.connection.base_url,
            hint="check base_url (it ends in /v1 for most servers), model and key_env",
        )

    def _gone(self, reason: str) -> ServiceError:
        return ServiceError(
            f"{self._failed_in_a_row} requests in a row failed ({reason}), each tried"
            f" {self.connection.max_attempts} times",
            where=self.connection.base_url,
            hint="start the server or wait until it is well again, then run again: replies so far are in the cache",
        )


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, StatusError):
        if error.status == 429:
            return "rate_limited"
        return "server_error" if error.status >= 500 else "bad_request"
    return "connection" if isinstance(error, UnreachableError) else "bad_response"
