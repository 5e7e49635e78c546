"""Vectors by an OpenAI-compatible `/v1/embeddings` endpoint."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from steps.contracts.digests import value_digest
from steps.contracts.errors import ServiceError
from steps.engines.embed.config import EmbeddingEndpoint
from steps.engines.embed.vectors import Done, NoVector, Vector, unit
from steps.engines.llm.caller import SERVER_FAILURES, Caller, Failure
from steps.engines.llm.concurrency import each
from steps.engines.llm.http import Http
from steps.engines.llm.retry import FAILURES


class RemoteModel:
    """Asks an endpoint for vectors, several requests at once.

    The address isn't part of `identity`, so that a server may move. What a server cuts off it does not say.
    """

    def __init__(self, endpoint: EmbeddingEndpoint, prompt: str) -> None:
        self._endpoint, self._prompt = endpoint, prompt
        self.identity = value_digest([endpoint.model, endpoint.dimensions, endpoint.extra_body, prompt])
        self._runner = asyncio.Runner()
        try:
            self._caller = Caller(endpoint)
        except BaseException:
            self._runner.close()
            raise

    def vectors(self, texts: Sequence[str], done: Done) -> None:
        """One result per text, told request by request; a failed request is a reason for each of its texts.

        Raises:
            ServiceError: the endpoint as a whole doesn't work.
        """
        size = self._endpoint.texts_per_request
        parts = [range(i, min(i + size, len(texts))) for i in range(0, len(texts), size)]
        reasons: Counter[str] = Counter()

        async def ask(part: range) -> None:
            results = await self._some([texts[i] for i in part])
            reasons.update(r for r in results if isinstance(r, str))
            done(part, results)

        self._runner.run(each(parts, ask, self._endpoint.most_at_once))
        failed = sum(n for reason, n in reasons.items() if reason in SERVER_FAILURES)
        if texts and self._caller.replies == 0 and failed == len(texts):
            raise ServiceError(
                f"no reply to any of {len(parts)} requests ({min(reasons)})", where=self._endpoint.base_url,
                hint="start the server, or correct endpoint.base_url",
            )  # fmt: skip

    async def _some(self, texts: list[str]) -> list[Vector | NoVector]:
        """Results of one request. One that is refused for its content is halved until the text at fault is alone."""
        answer = await self._request(texts)
        if isinstance(answer, Failure):
            if answer.reason != "bad_request" or len(texts) == 1:
                return [answer.reason] * len(texts)
            half = len(texts) // 2
            return [*await self._some(texts[:half]), *await self._some(texts[half:])]
        return answer

    async def _request(self, texts: list[str]) -> list[Vector | NoVector] | Failure:
        e = self._endpoint
        body: dict[str, Any] = {
            "model": e.model,
            "input": [(self._prompt + t).encode("utf-8", "replace").decode() for t in texts],
            "encoding_format": "float",
        }
        if e.dimensions is not None:
            body["dimensions"] = e.dimensions
        body |= e.extra_body

        async def call(server: Http) -> list[dict[str, Any]]:
            return _whole(await server.post("/embeddings", body), len(texts))

        start, sent = time.monotonic(), self._caller.requests
        try:
            data, _ = await self._caller.send(call)
        except FAILURES as error:
            return self._caller.failed(error, time.monotonic() - start, max(self._caller.requests - sent, 1))
        self._caller.succeeded()
        return [_vector(item["embedding"], e.dimensions) for item in sorted(data, key=lambda item: int(item["index"]))]

    def requests(self) -> int:
        """HTTP requests sent so far, failed attempts included."""
        return self._caller.requests

    def close(self) -> None:
        """Close the connections."""
        try:
            self._runner.run(self._caller.close())
        finally:
            self._runner.close()


def _whole(reply: Any, texts: int) -> list[dict[str, Any]]:
    """What the reply has for each text.

    Raises:
        ValueError: it doesn't name each text once, with a list for it.
    """
    data = reply.get("data") if isinstance(reply, dict) else None
    items = [d for d in data if isinstance(d, dict)] if isinstance(data, list) else []
    places = sorted(d["index"] for d in items if type(d.get("index")) is int)
    lists = sum(isinstance(d.get("embedding"), list) for d in items)
    if places != list(range(texts)) or not len(items) == lists == texts:
        raise ValueError("the reply lacks what was asked for")
    return items


def _vector(values: list[Any], dimensions: int | None) -> Vector | NoVector:
    if dimensions is not None and len(values) != dimensions:
        return "dimension"
    try:
        vector = np.array(values, np.float32)
    except (TypeError, ValueError):
        return "bad_response"
    return unit(vector) if vector.ndim == 1 else "bad_response"
