"""An async client of an OpenAI-compatible chat endpoint that says how each request ended."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steps.contracts import thinking
from steps.engines.llm.adaptation import Adaptation, param_of
from steps.engines.llm.caller import Caller, Failure
from steps.engines.llm.endpoint import MODES, Endpoint, Mode
from steps.engines.llm.gbnf import grammar_of
from steps.engines.llm.http import Http
from steps.engines.llm.retry import FAILURES

# A server that can't do a response_format says so with one of these.
_REJECTED_FORMAT = frozenset({400, 415, 422, 501})


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


class ChatClient(Caller):
    """Asks one endpoint; use it as an async context manager within one event loop.

    It remembers which response_format the server takes, and which fields it doesn't (`adapted`), and stops the run when
    the server is gone.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.endpoint = endpoint
        self.adapted = Adaptation.of(endpoint)
        self.mode: Mode = "json_schema" if endpoint.response_format == "auto" else endpoint.response_format
        self._proven = endpoint.response_format != "auto"

    async def ask(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], name: str, top: int = 0
    ) -> Reply | Failure:
        """One reply that should be JSON by `schema` (called `name`; {}: any text), or why there is none. With `top` it
        is instead the so many most probable first tokens, as JSON: [[token, natural logarithm of its probability]];
        "" where the server says none.

        Raises:
            ServiceError: the endpoint as a whole doesn't work: bad key, unknown model, spent quota, or
                `give_up_after` requests in a row without a working server.
        """
        start = time.monotonic()
        sent = self.requests
        modes = [self.mode] if self._proven else list(MODES[MODES.index(self.mode) :])
        if not schema:
            modes = ["logprobs" if top else "text"]
        while True:
            mode, made_with = modes[0], self.adapted.state()
            try:
                completion, attempts = await self._send(messages, mode, schema, name, top)
            except FAILURES as error:
                if self.adapted.learns(error, made_with):
                    continue
                if len(modes) > 1 and _rejects_format(error):
                    modes = modes[1:]
                    continue
                return self.failed(error, time.monotonic() - start, max(self.requests - sent, 1))
            self.succeeded()
            if schema and not self._proven:
                self.mode, self._proven = mode, True
            return _reply(completion, mode, time.monotonic() - start, attempts)

    def body(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], name: str, top: int = 0
    ) -> dict[str, Any]:
        """A request as `ask` would send it now."""
        return self._body(messages, self.mode if schema else "text", schema, name, top)

    def read(self, completion: Any, body: Mapping[str, Any], seconds: float) -> Reply | None:
        """The reply in what a server sent for such a request; None: it isn't whole."""
        mode: Mode = "logprobs" if body.get("logprobs") else self.mode
        return _reply(completion, mode, seconds, 1) if _is_whole(completion) else None

    def _body(
        self, messages: Sequence[Mapping[str, str]], mode: Mode, schema: Mapping[str, Any], name: str, top: int
    ) -> dict[str, Any]:
        body = _body(self.endpoint, self.adapted, messages, mode, schema, name)
        asked = {self.adapted.limit_field: 1, "logprobs": True, "top_logprobs": top}
        return body | asked if top else body

    async def _send(
        self, messages: Sequence[Mapping[str, str]], mode: Mode, schema: Mapping[str, Any], name: str, top: int
    ) -> tuple[dict[str, Any], int]:
        body = self._body(messages, mode, schema, name, top)

        async def call(server: Http) -> dict[str, Any]:
            completion: dict[str, Any] = await server.post("/chat/completions", body)
            if not _is_whole(completion):
                raise ValueError("the reply lacks what was asked for")
            return completion

        return await self.send(call)


def _rejects_format(error: Exception) -> bool:
    """Whether a server's error may be about the response_format; not when it names another field."""
    param = param_of(error)
    named = param is None or param.startswith(("response_format", "text"))
    return named and getattr(error, "status", None) in _REJECTED_FORMAT


def _body(
    e: Endpoint,
    adapted: Adaptation,
    messages: Sequence[Mapping[str, str]],
    mode: Mode,
    schema: Mapping[str, Any],
    name: str,
) -> dict[str, Any]:
    body: dict[str, Any] = {"model": e.model, "messages": list(messages), adapted.limit_field: e.max_tokens}
    if adapted.temperature is not None:
        body["temperature"] = adapted.temperature
    if e.seed is not None:
        body["seed"] = e.seed
    if mode == "json_schema":
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": dict(schema), "strict": True},
        }
    elif mode == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif mode == "json_object_schema":
        body["response_format"] = {"type": "json_object", "schema": dict(schema)}
    elif mode == "guided_json":
        body["guided_json"] = dict(schema)
    elif mode == "grammar":
        body["grammar"] = grammar_of(schema)
    return body | e.extra_body


def _is_whole(completion: Any) -> bool:
    choices = completion.get("choices") if isinstance(completion, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and isinstance(first.get("message"), dict)


def _reply(completion: dict[str, Any], mode: Mode, seconds: float, attempts: int) -> Reply:
    choice, usage = completion["choices"][0], completion.get("usage")
    message, finish = choice["message"], str(choice.get("finish_reason") or "")
    return Reply(
        text=_most_probable(choice) if mode == "logprobs" else _text(message),
        finish_reason=finish,
        refused=bool(message.get("refusal")) or finish == "content_filter",
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        seconds=seconds,
        mode=mode,
        attempts=attempts,
    )


def _most_probable(choice: Mapping[str, Any]) -> str:
    """The most probable first tokens with their logarithms, as JSON; "" where the server says none."""
    logprobs = choice.get("logprobs")
    said = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = said[0] if isinstance(said, list) and said else None
    top = first.get("top_logprobs") if isinstance(first, dict) else None
    listed = [t for t in top if isinstance(t, dict)] if isinstance(top, list) else []
    found = [[t["token"], t.get("logprob")] for t in listed if isinstance(t.get("token"), str)]
    return _kept(json.dumps(found, ensure_ascii=False)) if found else ""


def _text(message: Mapping[str, Any]) -> str:
    """What is said, behind the reasoning in tags where the server gives it apart; "" where nothing is said."""
    content = message.get("content")
    text = _kept(content) if isinstance(content, str) else ""
    for name in ("reasoning_content", "reasoning"):
        reasoning = message.get(name)
        if text.strip() and isinstance(reasoning, str) and reasoning.strip():
            return thinking.joined("think", _kept(reasoning.strip()), text)
    return text


def _kept(text: str) -> str:
    """A text as the cache can hold it: JSON can say half of a surrogate pair, and a NUL, at which SQLite cuts."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
