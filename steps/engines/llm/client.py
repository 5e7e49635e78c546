"""An async client of an OpenAI-compatible chat endpoint that says how each request ended."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import openai
from tenacity import AsyncRetrying, RetryError, retry_if_exception, stop_after_attempt

from steps.contracts.errors import ServiceError
from steps.engines.llm.endpoint import MODES, Endpoint, Mode
from steps.engines.llm.retry import Wait, is_transient

# Errors that name the whole endpoint: every further request would meet them too.
_FATAL = {
    401: "the server refuses the API key",
    402: "the server asks for payment",
    403: "the server forbids the request",
    404: "the server knows no such address or model",
}
# Failures that say nothing about the row: the server is away, busy or broken.
SERVER_FAILURES = frozenset({"timeout", "connection", "rate_limited", "server_error", "bad_response"})
# A server that can't do a response_format says so with one of these.
_REJECTED_FORMAT = frozenset({400, 415, 422, 501})
_DETAIL_CHARS = 300


@dataclass(frozen=True)
class Reply:
    """What the model said. Tokens are None when the server didn't count them; `seconds` is wall-clock, waits included.

    `refused` is the server's own mark (a refusal field or a content filter), not a guess from the text.
    """

    text: str
    finish_reason: str
    refused: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    mode: Mode
    attempts: int


@dataclass(frozen=True)
class Failure:
    """No reply. `reason` is one of timeout, connection, rate_limited, server_error, bad_response, bad_request.

    `detail` holds the exception's class and the status code, never what the server wrote (it may repeat the row).
    """

    reason: str
    detail: str
    seconds: float
    attempts: int


class ChatClient:
    """Asks one endpoint; use it as an async context manager within one event loop.

    It remembers which response_format the server takes, and stops the run when the server is gone.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.mode: Mode = "json_schema" if endpoint.response_format == "auto" else endpoint.response_format
        # HTTP requests sent, failed attempts included.
        self.requests = 0
        # Whole replies received.
        self.replies = 0
        self._proven = endpoint.response_format != "auto"
        self._failed_in_a_row = 0
        local = endpoint.on_this_machine
        self._client = openai.AsyncOpenAI(
            api_key=endpoint.read_key(),
            base_url=endpoint.base_url,
            max_retries=0,
            timeout=endpoint.timeout_seconds,
            # Never elsewhere than base_url says: no redirects, and no proxy for a server on this machine.
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False, trust_env=not local, timeout=endpoint.timeout_seconds
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

    async def ask(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], name: str) -> Reply | Failure:
        """One reply that should be JSON by `schema` (called `name`), or why there is none.

        Raises:
            ServiceError: the endpoint as a whole doesn't work: bad key, unknown model, spent quota, or
                `give_up_after` requests in a row without a working server.
        """
        start = time.monotonic()
        sent = self.requests
        modes = [self.mode] if self._proven else list(MODES[MODES.index(self.mode) :])
        for mode in modes:
            try:
                completion, attempts = await self._send(messages, mode, schema, name)
            except (openai.OpenAIError, TimeoutError, ValueError) as error:
                if mode != modes[-1] and getattr(error, "status_code", None) in _REJECTED_FORMAT:
                    continue
                return self._failed(error, time.monotonic() - start, max(self.requests - sent, 1))
            self._failed_in_a_row = 0
            self.replies += 1
            if not self._proven:
                self.mode, self._proven = mode, True
            return _reply(completion, mode, time.monotonic() - start, attempts)
        raise AssertionError("the last mode returns")

    async def _send(
        self, messages: Sequence[Mapping[str, str]], mode: Mode, schema: Mapping[str, Any], name: str
    ) -> tuple[Any, int]:
        e = self.endpoint
        retrying = AsyncRetrying(
            stop=stop_after_attempt(e.max_attempts),
            wait=Wait(e),
            retry=retry_if_exception(lambda error: is_transient(error, e)),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                self.requests += 1
                async with asyncio.timeout(e.timeout_seconds):
                    completion = await self._client.chat.completions.create(**_body(e, messages, mode, schema, name))
                if not _is_whole(completion):
                    raise ValueError("the reply has no choices with a message")
                return completion, attempt.retry_state.attempt_number
        raise RetryError(None)  # type: ignore[arg-type]

    def _failed(self, error: Exception, seconds: float, attempts: int) -> Failure:
        status = getattr(error, "status_code", None)
        if status in _FATAL or getattr(error, "code", None) == "insufficient_quota":
            raise self._fatal(status, error)
        reason = _reason(error)
        self._failed_in_a_row = self._failed_in_a_row + 1 if reason in SERVER_FAILURES else 0
        if self._failed_in_a_row >= self.endpoint.give_up_after:
            raise self._gone(reason)
        return Failure(reason, type(error).__name__ + (f" {status}" if status else ""), seconds, attempts)

    def _fatal(self, status: int | None, error: Exception) -> ServiceError:
        what = _FATAL.get(status or 0, "the server says that the quota is spent")
        return ServiceError(
            f"{what} ({type(error).__name__} {status}; model {self.endpoint.model!r})",
            where=self.endpoint.base_url,
            hint="check base_url (it ends in /v1 for most servers), model and key_env",
        )

    def _gone(self, reason: str) -> ServiceError:
        return ServiceError(
            f"{self._failed_in_a_row} requests in a row failed ({reason}), each tried"
            f" {self.endpoint.max_attempts} times",
            where=self.endpoint.base_url,
            hint="start the server or wait until it is well again, then run again: replies so far are in the cache",
        )


def _body(
    e: Endpoint, messages: Sequence[Mapping[str, str]], mode: Mode, schema: Mapping[str, Any], name: str
) -> dict[str, Any]:
    body: dict[str, Any] = {"model": e.model, "messages": list(messages), e.max_tokens_field: e.max_tokens}
    if e.temperature is not None:
        body["temperature"] = e.temperature
    if e.seed is not None:
        body["seed"] = e.seed
    if mode == "json_schema":
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": dict(schema), "strict": True},
        }
    elif mode == "json_object":
        body["response_format"] = {"type": "json_object"}
    if e.extra_body:
        body["extra_body"] = dict(e.extra_body)
    return body


def _is_whole(completion: Any) -> bool:
    choices = getattr(completion, "choices", None)
    return isinstance(choices, list) and bool(choices) and getattr(choices[0], "message", None) is not None


def _reply(completion: Any, mode: Mode, seconds: float, attempts: int) -> Reply:
    choice = completion.choices[0]
    text = choice.message.content
    usage = completion.usage
    return Reply(
        text=text if isinstance(text, str) else "",
        finish_reason=str(choice.finish_reason or ""),
        refused=bool(getattr(choice.message, "refusal", None)) or choice.finish_reason == "content_filter",
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        seconds=seconds,
        mode=mode,
        attempts=attempts,
    )


def _count(usage: Any, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) and value >= 0 else None


def _reason(error: Exception) -> str:
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return "timeout"
    if isinstance(error, openai.APIStatusError):
        if error.status_code == 429:
            return "rate_limited"
        return "server_error" if error.status_code >= 500 else "bad_request"
    return "connection" if isinstance(error, openai.APIConnectionError) else "bad_response"
