"""Questions asked in batches: a file of requests is uploaded, and fetched when the server has answered them.

The calls are OpenAI's (https://platform.openai.com/docs/guides/batch): POST /files, POST and GET /batches, GET
/files/ID/content.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import aiohttp

from steps.contracts.digests import value_digest
from steps.contracts.errors import ServiceError
from steps.contracts.locks import locked
from steps.engines.llm.cache import ReplyCache
from steps.engines.llm.caller import Caller, Failure
from steps.engines.llm.client import ChatClient, Reply
from steps.engines.llm.endpoint import BatchSettings, Endpoint
from steps.engines.llm.http import Http, StatusError
from steps.engines.llm.retry import FAILURES

T = TypeVar("T")
# Requests by the keys of their questions.
Bodies: TypeAlias = Mapping[str, Mapping[str, Any]]

# OpenAI's limits: requests in a batch, and bytes of its file (200 MB; a share of it, for what is counted otherwise).
_MOST_REQUESTS, _MOST_BYTES = 50_000, 150_000_000
# Chosen: an upload of that size over a slow line.
_TRANSFER_SECONDS = 600.0
_AT_ONCE = 4
_LISTED = 100
_URL = "/v1/chat/completions"
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
# The server has as much of ours in line as it takes: later.
_QUEUE_FULL = frozenset({"token_limit_exceeded", "batch_limit_exceeded"})
# How a batch is named that may not have been made: by what its metadata says.
_INTENT = "named "


class Batches:
    """The batches of one endpoint. What was asked is noted in the cache of replies: a process that takes another one's
    place waits for the same batches.
    """

    def __init__(self, endpoint: Endpoint, settings: BatchSettings, client: ChatClient, cache: ReplyCache) -> None:
        longer = {"timeout_seconds": max(endpoint.timeout_seconds, _TRANSFER_SECONDS), "concurrency": _AT_ONCE}
        self.settings, self._client, self._cache = settings, client, cache
        self._caller = Caller(endpoint.model_copy(update=longer))
        self._lock = cache.file.with_suffix(".batches.lock")

    async def close(self) -> None:
        """Close the connections."""
        await self._caller.close()

    @property
    def requests(self) -> int:
        """HTTP requests sent so far."""
        return self._caller.requests

    async def ask(self, bodies: Bodies) -> dict[str, Reply | Failure]:
        """The reply to each request by its key, or why there is none; once all of them are there. `forget` says that
        they are kept.

        Raises:
            ServiceError: the server has no batches, refuses this one, or doesn't work.
        """
        replies: dict[str, Reply | Failure] = {}
        while len(replies) < len(bodies):
            waits = await self._made({key: body for key, body in bodies.items() if key not in replies})
            for found in await asyncio.gather(*(self._fetched(batch, keys, bodies) for batch, keys in waits.items())):
                replies |= found
            if len(replies) < len(bodies):
                await asyncio.sleep(self.settings.poll_seconds)
        return replies

    def forget(self, keys: Iterable[str]) -> None:
        """The replies to these are kept: they wait for no batch."""
        self._cache.put_batched(keys, None)

    async def _made(self, bodies: Bodies) -> dict[str, list[str]]:
        """Keys by the batch that they wait for; those that wait for none go into new ones."""
        async with _held(self._lock):
            known = await self._named(self._cache.batches(bodies))
            waits: dict[str, list[str]] = {}
            for key, batch in known.items():
                waits.setdefault(batch, []).append(key)
            for part in _parts({key: _line(key, body) for key, body in bodies.items() if key not in known}):
                waits[await self._make(part)] = list(part)
        return waits

    async def _named(self, known: dict[str, str]) -> dict[str, str]:
        """With the ids of those batches that were about to be made, where they were."""
        unsure = {batch for batch in known.values() if batch.startswith(_INTENT)}
        if not unsure:
            return known
        listed = await self._call(lambda server: server.get(f"/batches?limit={_LISTED}"))
        ids = {f"{_INTENT}{(b.get('metadata') or {}).get('assay')}": b["id"] for b in listed.get("data", [])}
        for name in unsure:
            self._cache.put_batched([k for k, b in known.items() if b == name], ids.get(name))
        return {k: ids.get(b, b) for k, b in known.items() if b not in unsure or b in ids}

    async def _make(self, lines: Mapping[str, bytes]) -> str:
        name = value_digest([*sorted(lines), time.time()])[:32]
        self._cache.put_batched(lines, _INTENT + name)
        form = b"".join(lines.values())

        async def upload(server: Http) -> Any:
            data = aiohttp.FormData({"purpose": "batch"})
            data.add_field("file", form, filename=f"{name}.jsonl", content_type="application/jsonl")
            return json.loads(await server.request("POST", "/files", data=data))

        file = (await self._call(upload))["id"]
        body = {"input_file_id": file, "endpoint": _URL, "completion_window": self.settings.window,
                "metadata": {"assay": name}}  # fmt: skip
        batch = str((await self._call(lambda server: server.post("/batches", body)))["id"])
        self._cache.put_batched(lines, batch)
        return batch

    async def _fetched(self, batch: str, keys: Sequence[str], bodies: Bodies) -> dict[str, Reply | Failure]:
        start = time.monotonic()
        while (state := await self._state(batch))["status"] not in _ENDED:
            await asyncio.sleep(self.settings.poll_seconds)
        seconds = time.monotonic() - start
        if state["status"] == "failed":
            return self._failed(state, batch, keys)
        found: dict[str, Reply | Failure] = {}
        for name in ("output_file_id", "error_file_id"):
            if state.get(name):
                found |= self._read(await self._content(str(state[name])), {key: bodies[key] for key in keys}, seconds)
        lost = "bad_response" if state["status"] == "completed" else "expired"
        return {key: found.get(key) or Failure(lost, f"batch {state['status']}", seconds, 1) for key in keys}

    def _failed(self, state: Mapping[str, Any], batch: str, keys: Sequence[str]) -> dict[str, Reply | Failure]:
        """Nothing, where it may be made again later."""
        self._cache.put_batched(keys, None)
        errors = (state.get("errors") or {}).get("data") or [{}]
        codes = sorted({str(e.get("code")) for e in errors if isinstance(e, dict)})
        if _QUEUE_FULL & set(codes):
            return {}
        raise ServiceError(
            f"the server refuses a batch of {len(keys)} requests ({', '.join(codes)})",
            where=f"{self._caller.connection.base_url}: {batch}",
            hint="leave endpoint.batch out, or correct what the code says",
        )

    async def _content(self, file: str) -> bytes:
        return await self._call(lambda server: server.request("GET", f"/files/{file}/content"))

    async def _state(self, batch: str) -> dict[str, Any]:
        state = await self._call(lambda server: server.get(f"/batches/{batch}"))
        if not isinstance(state, dict) or not isinstance(state.get("status"), str):
            raise ServiceError("the server says nothing of it", where=f"{self._caller.connection.base_url}: {batch}")
        return state

    def _read(self, content: bytes, wanted: Bodies, seconds: float) -> dict[str, Reply | Failure]:
        found: dict[str, Reply | Failure] = {}
        for line in content.split(b"\n"):
            try:
                said = json.loads(line) if line.strip() else {}
                key = said.get("custom_id")
                response = said.get("response") or {}
                status, body = response.get("status_code"), response.get("body")
            except (ValueError, AttributeError):
                continue
            if isinstance(key, str) and key in wanted and key not in found:
                reply = self._client.read(body, wanted[key], seconds) if status == 200 else None
                found[key] = reply or Failure(_reason(status), f"HTTP {status} in a batch", seconds, 1)
        return found

    async def _call(self, call: Callable[[Http], Awaitable[T]]) -> T:
        try:
            answer, _ = await self._caller.send(call)
        except FAILURES as error:
            if isinstance(error, StatusError) and error.status in (404, 405, 501):
                raise ServiceError(
                    f"the server has no batches (HTTP {error.status})", where=self._caller.connection.base_url,
                    hint="leave endpoint.batch out: each question is then a request of its own",
                ) from error  # fmt: skip
            failure = self._caller.failed(error, 0.0, 1)
            raise ServiceError(
                f"a batch can't be made or followed: {failure.detail}", where=self._caller.connection.base_url,
                hint="run again later: batches that were made are waited for, and not made again",
            ) from error  # fmt: skip
        self._caller.succeeded()
        return answer


def _line(key: str, body: Mapping[str, Any]) -> bytes:
    line = {"custom_id": key, "method": "POST", "url": _URL, "body": body}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _parts(lines: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """In files of the size that a server takes."""
    part: dict[str, bytes] = {}
    size = 0
    for key, line in lines.items():
        if part and (len(part) >= _MOST_REQUESTS or size + len(line) > _MOST_BYTES):
            yield part
            part, size = {}, 0
        part[key] = line
        size += len(line)
    if part:
        yield part


def _reason(status: Any) -> str:
    if status == 429:
        return "rate_limited"
    if isinstance(status, int) and 400 <= status < 500:
        return "bad_request"
    return "server_error" if isinstance(status, int) and status >= 500 else "bad_response"


@asynccontextmanager
async def _held(file: Path) -> AsyncIterator[None]:
    """A lock between processes, and between what this one does at once."""
    lock = locked(file)
    await asyncio.to_thread(lock.__enter__)
    try:
        yield
    finally:
        lock.__exit__(None, None, None)
