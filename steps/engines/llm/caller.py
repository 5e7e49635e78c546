"""Requests to one OpenAI-compatible server: sent again while that can help, counted, and ended when it is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import openai
from tenacity import AsyncRetrying, RetryError, retry_if_exception, stop_after_attempt

from steps.contracts.errors import ServiceError
from steps.engines.llm.adaptation import shown
from steps.engines.llm.endpoint import Connection
from steps.engines.llm.retry import Wait, is_transient

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
        self._client = openai.AsyncOpenAI(
            api_key=connection.read_key(),
            base_url=connection.base_url,
            max_retries=0,
            timeout=connection.timeout_seconds,
            # Never elsewhere than base_url says: no redirects, and no proxy for a server on this machine.
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False, trust_env=not connection.on_this_machine, timeout=connection.timeout_seconds
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def send(
        self, call: Callable[[openai.AsyncOpenAI], Awaitable[T]], whole: Callable[[T], bool]
    ) -> tuple[T, int]:
        """The reply and the number of attempts; a reply that isn't `whole` counts as a failed attempt.

        Raises: what the last attempt raised (openai.OpenAIError, TimeoutError, ValueError).
        """
        c = self.connection
        retrying = AsyncRetrying(
            stop=stop_after_attempt(c.max_attempts),
            wait=Wait(c),
            retry=retry_if_exception(lambda error: is_transient(error, c)),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                self.requests += 1
                async with asyncio.timeout(c.timeout_seconds):
                    reply = await call(self._client)
                if not whole(reply):
                    raise ValueError("the reply lacks what was asked for")
                return reply, attempt.retry_state.attempt_number
        raise RetryError(None)  # type: ignore[arg-type]

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
        status = getattr(error, "status_code", None)
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
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return "timeout"
    if isinstance(error, openai.APIStatusError):
        if error.status_code == 429:
            return "rate_limited"
        return "server_error" if error.status_code >= 500 else "bad_request"
    return "connection" if isinstance(error, openai.APIConnectionError) else "bad_response"
