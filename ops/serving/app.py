"""The HTTP side: OpenAI's chat completions over what a desk answers."""

import asyncio
import hmac
import json
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ops.serving.desk import Answers, End, FullError, Job, NoRoomError, Question, Told
from ops.serving.page import Page, chat_page
from ops.serving.request_log import RequestLog, asked_of
from ops.serving.requests import LARGEST_BYTES, ReadRequest, RequestError, read_request
from steps.contracts.errors import OutOfMemoryError, ServiceError, TrainingDataError
from steps.engines.lm.transcript import Piece

# Chosen: seconds for a body to arrive.
_SLOWEST = 30


@dataclass(frozen=True)
class Rules:
    """How the server answers.

    Attributes:
        models: what /v1/models lists.
        most: tokens of an answer where the request doesn't say.
        hosts: names under which it may be asked; empty: any. A page in a browser that was led here under a name of its
            own is refused by that.
        key: what a request must bear; "": nothing.
        page: one to talk to the models; None: there is none.
    """

    models: Sequence[dict[str, Any]]
    most: int
    hosts: frozenset[str] = frozenset()
    key: str = ""
    page: Page | None = None


def make_app(desk: Answers, rules: Rules, log: RequestLog | None = None) -> Starlette:
    """The application; the desk must be open, and the log of requests, if there is one."""
    server = _Server(desk, rules, log)
    routes = [
        Route("/v1/chat/completions", server.chat, methods=["POST"]),
        Route("/v1/models", server.models, methods=["GET"]),
        Route("/v1/models/{name:path}", server.model, methods=["GET"]),
        Route("/health", server.health, methods=["GET"]),
        # The same by SageMaker's names.
        Route("/invocations", server.chat, methods=["POST"]),
        Route("/ping", server.health, methods=["GET"]),
    ]
    routes += [Route("/", server.page, methods=["GET"])] if rules.page is not None else []
    handlers: dict[Any, Any] = {RequestError: _refused, HTTPException: _no_such, Exception: _broken}
    return Starlette(routes=routes, exception_handlers=handlers)


async def _refused(_: Request, error: RequestError) -> Response:
    # What is left of a body that was too large is not read.
    headers = {"Connection": "close"} if error.status in (408, 413) else {}
    headers |= {"Retry-After": "1"} if error.status in (429, 503) else {}
    return JSONResponse(error.body(), error.status, headers)


async def _no_such(_: Request, error: HTTPException) -> Response:
    return JSONResponse(RequestError(error.status_code, str(error.detail)).body(), error.status_code, error.headers)


async def _broken(_: Request, error: Exception) -> Response:
    return JSONResponse(RequestError(500, f"a fault of the server: {type(error).__name__}").body(), 500)


class _Server:
    def __init__(self, desk: Answers, rules: Rules, log: RequestLog | None) -> None:
        self._desk, self._rules, self._log = desk, rules, log
        self._post: _Post | None = None

    async def health(self, _: Request) -> Response:
        """Whether questions are answered, and how many wait; answered at once, whatever is going on."""
        desk = self._desk
        about = {"waiting": desk.waiting, "answering": desk.answering, "answered": desk.answered}
        if self._log is not None:
            about["unlogged"] = self._log.lost
        return JSONResponse({"status": "ok" if desk.alive else "dead", **about}, 200 if desk.alive else 503)

    async def page(self, request: Request) -> Response:
        """The page, which asks for the key itself."""
        self._check_name(request)
        assert self._rules.page is not None
        text, headers = chat_page(self._rules.page, self._rules.most)
        return HTMLResponse(text, headers=headers)

    async def models(self, request: Request) -> Response:
        """What can be asked."""
        self._check(request)
        return JSONResponse({"object": "list", "data": list(self._rules.models)})

    async def model(self, request: Request) -> Response:
        """One of them."""
        self._check(request)
        return JSONResponse(self._described(request.path_params["name"]))

    async def chat(self, request: Request) -> Response:
        """An answer, whole or piece by piece."""
        self._check(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestError(415, "the content type must be application/json")
        read = read_request(await _body(request))
        digest = self._described(read.chat.model)["digest"]
        logged = _Logged(self._log, read, digest)
        heard: asyncio.Queue[Told] = asyncio.Queue()
        if self._post is None:
            self._post = _Post(asyncio.get_running_loop())
        tell = partial(self._post.send, heard)
        try:
            job = await self._asked(read, tell)
            if read.chat.stream:
                return StreamingResponse(_events(read, job, heard, logged), media_type="text/event-stream")
            answer = _completion(read, await _whole(request, job, heard))
        except RequestError as e:
            await logged.failed(e)
            raise
        await logged.answered(answer)
        return JSONResponse(answer)

    def _check(self, request: Request) -> None:
        self._check_name(request)
        rules = self._rules
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if rules.key and not hmac.compare_digest(given, rules.key.encode()):
            raise RequestError(401, "the API key is missing or wrong", code="invalid_api_key")

    def _check_name(self, request: Request) -> None:
        hosts = self._rules.hosts
        if hosts and _host(request.headers.get("host", "")) not in hosts:
            raise RequestError(421, "this server isn't known under that name")

    def _described(self, name: str) -> dict[str, Any]:
        found = next((m for m in self._rules.models if m["id"] == name), None)
        if found is None:
            raise RequestError(404, f"no model {name[:200]!r} here", param="model", code="model_not_found")
        return found

    async def _asked(self, read: ReadRequest, tell: Any) -> Job:
        chat = read.chat
        question = Question(
            chat.model, read.row, chat.most_tokens or self._rules.most, temperature=chat.temperature or 0.0,
            top_p=1.0 if chat.top_p is None else chat.top_p, seed=chat.seed, stops=chat.stops, pieces=bool(chat.stream),
            tells_ids=bool(chat.return_token_ids),
        )  # fmt: skip
        try:
            # Rendering and tokenizing a long conversation takes a while.
            return await asyncio.to_thread(self._desk.ask, question, tell)
        except NoRoomError as e:
            raise RequestError(400, str(e), param="messages", code="context_length_exceeded") from e
        except TrainingDataError as e:
            raise RequestError(400, e.what, param="messages") from e
        except ServiceError as e:
            raise _failure(e) from e
        except FullError as e:
            raise RequestError(429, "too many requests wait; try again later", code="rate_limit_exceeded") from e


class _Post:
    """What other threads tell those who wait in the loop. It is woken once for all that is told at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._sent, self._woken = loop, deque[tuple[asyncio.Queue[Told], Told]](), False

    def send(self, heard: "asyncio.Queue[Told]", told: Told) -> None:
        """From any thread."""
        self._sent.append((heard, told))
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # First this: what is sent from here on wakes it again, or is delivered now.
        self._woken = False
        while self._sent:
            heard, told = self._sent.popleft()
            heard.put_nowait(told)


class _Logged:
    """The line of one request in the log, written once; nothing where there is no log."""

    def __init__(self, log: RequestLog | None, read: ReadRequest, digest: str) -> None:
        self._log, self._began = log, time.monotonic()
        self._line = {"created": time.time(), "model_digest": digest, "request": asked_of(read.chat)} if log else {}

    async def answered(self, answer: dict[str, Any]) -> None:
        """It is answered; on disk when this returns."""
        await self._written({"id": answer["id"], "response": answer})

    async def failed(self, error: RequestError) -> None:
        """It isn't."""
        await self._written({**error.body(), "status": error.status})

    def left(self) -> None:
        """Whoever asked is gone; nobody waits for the disk."""
        self._put({**_gone().body(), "status": _gone().status})

    async def _written(self, end: dict[str, Any]) -> None:
        if (done := self._put(end)) is not None:
            await asyncio.wrap_future(done)

    def _put(self, end: dict[str, Any]) -> "Future[bool] | None":
        log, self._log = self._log, None
        return log.add({**self._line, "latency": round(time.monotonic() - self._began, 6), **end}) if log else None


def _gone() -> RequestError:
    """What is said of a request whose sender doesn't wait for the answer."""
    return RequestError(400, "the client is gone", code="client_gone")


def _host(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    name = header.strip().lower()
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


async def _body(request: Request) -> bytes:
    """The body, as large and as slow as it may be."""
    found = bytearray()
    try:
        async with asyncio.timeout(_SLOWEST):
            async for part in request.stream():
                found += part
                if len(found) > LARGEST_BYTES:
                    raise RequestError(413, f"the body is larger than {LARGEST_BYTES:,} bytes", code="body_too_large")
    except ClientDisconnect as e:
        raise RequestError(400, "the body ends early") from e
    except TimeoutError as e:
        raise RequestError(408, f"the body took longer than {_SLOWEST} s") from e
    return bytes(found)


async def _whole(request: Request, job: Job, heard: "asyncio.Queue[Told]") -> End:
    """The end of an answer; whoever hangs up meanwhile lets it go."""
    told = asyncio.ensure_future(heard.get())
    left = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({told, left}, return_when=asyncio.FIRST_COMPLETED)
        if not told.done():
            raise _gone()
        found = told.result()
        assert not isinstance(found, Piece)
        if isinstance(found, Exception):
            raise _failure(found)
        return found
    finally:
        job.gone.set()
        told.cancel()
        left.cancel()


async def _left(request: Request) -> None:
    while not await request.is_disconnected():
        # Chosen: an answer that nobody waits for goes on for so long at most.
        await asyncio.sleep(0.25)


def _failure(error: Exception) -> RequestError:
    if isinstance(error, OutOfMemoryError):
        return RequestError(503, error.what, code="out_of_memory")
    if isinstance(error, ServiceError):
        return RequestError(503, error.what, code="engine_failed")
    return RequestError(500, f"the answer failed: {error!s:.300}")


async def _events(read: ReadRequest, job: Job, heard: "asyncio.Queue[Told]", logged: _Logged) -> AsyncIterator[str]:
    """The answer as server-sent events, in OpenAI's chunks; what has come together is one of them."""
    shared = {**_head(), "object": "chat.completion.chunk", "model": read.chat.model}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        usage = {"usage": None} if read.chat.usage_at_the_end else {}
        return _event({**shared, "choices": [choice], **usage})

    try:
        yield chunk({"role": "assistant", "content": ""})
        while isinstance(told := await heard.get(), Piece):
            thought, said, last = _gathered(told, heard)
            if thought:
                yield chunk({"reasoning_content": thought})
            if said:
                yield chunk({"content": said})
            if last is not None:
                told = last
                break
        if isinstance(told, Exception):
            await logged.failed(_failure(told))
            yield _event(_failure(told).body())
            return
        assert isinstance(told, End)
        await logged.answered({**_completion(read, told), "id": shared["id"]})
        yield chunk({}, _finish(told))
        if read.chat.usage_at_the_end:
            yield _event({**shared, "choices": [], "usage": _usage(told)})
        yield "data: [DONE]\n\n"
    finally:
        job.gone.set()
        logged.left()


def _gathered(piece: Piece, heard: "asyncio.Queue[Told]") -> tuple[str, str, End | Exception | None]:
    """A piece with those that are there already: reasoning, text, and the end where that is there as well."""
    thought, said = piece.reasoning, piece.text
    while not heard.empty():
        told = heard.get_nowait()
        if not isinstance(told, Piece):
            return thought, said, told
        thought, said = thought + told.reasoning, said + told.text
    return thought, said, None


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _completion(read: ReadRequest, end: End) -> dict[str, Any]:
    thought = {"reasoning_content": end.reasoning} if end.reasoning else {}
    message = {"role": "assistant", "content": end.text, "refusal": None, **thought}
    choice: dict[str, Any] = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(end)}
    told = {**_head(), "object": "chat.completion", "model": read.chat.model, "choices": [choice], "usage": _usage(end)}
    if read.chat.return_token_ids:
        # Named as vLLM's.
        choice["token_ids"], told["prompt_token_ids"] = list(end.ids), list(end.prompt_ids)
    return told


def _head() -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time())}


def _finish(end: End) -> str:
    return "length" if end.cut else "stop"


def _usage(end: End) -> dict[str, int]:
    return {
        "prompt_tokens": end.prompt,
        "completion_tokens": end.completion,
        "total_tokens": end.prompt + end.completion,
    }
