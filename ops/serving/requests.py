"""What a chat request asks, in OpenAI's form. Read strictly: what isn't done may not be passed over in silence."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from steps.contracts.digests import canonical_json
from steps.contracts.records import Row, make_row
from steps.engines.formats.format import AS_USUAL
from steps.engines.formats.openai import read
from steps.engines.formats.rejected import RowRejected

# Chosen: a book is about a megabyte; nothing that fits a context is larger than this.
LARGEST_BYTES = 4 << 20
# Chosen: far more than a conversation has; OpenAI's own limit of stop sequences.
_MOST_MESSAGES, _MOST_STOPS = 2_000, 4
# Said behind the messages, so that a request is read as a row is: its place is where the answer goes.
_ANSWER = {"role": "assistant", "content": "x"}


class RequestError(Exception):
    """A request that can't be answered, as its sender is told."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class _Format(_Strict):
    type: Literal["text"]


_Stop = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Limit = Annotated[int, Field(ge=1)]
_None = Annotated[float, Field(ge=0, le=0)]


class ChatRequest(_Strict):
    """The body of a request. What would change the answer and isn't done here has one value that is allowed; what
    changes nothing is taken and left aside.
    """

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=_MOST_MESSAGES)
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: _Limit | None = None
    max_completion_tokens: _Limit | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=_MOST_STOPS)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=_MOST_MESSAGES)] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    presence_penalty: _None | None = None
    frequency_penalty: _None | None = None
    response_format: _Format | None = None
    return_token_ids: bool | None = None
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    parallel_tool_calls: Any = None

    @property
    def most_tokens(self) -> int | None:
        """Tokens of the answer that are asked for at most."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop sequences."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def usage_at_the_end(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


@dataclass(frozen=True)
class ReadRequest:
    """A request, and its messages as a row of a dataset whose last answer is still to be given."""

    chat: ChatRequest
    row: Row


def read_request(body: bytes) -> ReadRequest:
    """The request that a body is.

    Raises:
        RequestError: it is none, or asks for something that isn't done here.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is no text
        chat = ChatRequest.model_validate(value)
    except ValidationError as e:
        raise _invalid(e) from e
    except (ValueError, RecursionError) as e:
        raise RequestError(400, "the body is not JSON in UTF-8", code="invalid_json") from e
    if chat.return_token_ids and chat.stream:
        raise RequestError(400, "token ids are told of whole answers, not of streams", param="return_token_ids")
    return ReadRequest(chat, _row(chat))


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _invalid(error: ValidationError) -> RequestError:
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("constrained", "list["))) or None
    if first["type"] == "extra_forbidden":
        return RequestError(400, f"unrecognized request argument: {param}", param=param, code="unknown_parameter")
    return RequestError(400, f"{param or 'body'}: {first['msg']}", param=param)


def _row(chat: ChatRequest) -> Row:
    for number, m in enumerate(chat.messages):
        # Ingest reads numbers as text, and other names of the fields; whoever asks so has made a mistake.
        if not isinstance(m.get("role"), str) or not isinstance(m.get("content"), str | list | None):
            raise RequestError(400, "a message needs a role, and content as text", param=f"messages.{number}")
    if chat.messages[-1].get("role") not in ("user", "tool"):
        raise RequestError(400, "the last message must be one of role user or tool", param="messages")
    tools = {"tools": chat.tools} if chat.tools and chat.tool_choice != "none" else {}
    try:
        return asked_row(chat.messages, **tools)
    except RowRejected as e:
        raise RequestError(400, e.hint or e.what, param="messages") from e


def asked_row(messages: list[dict[str, Any]], **tools: Any) -> Row:
    """Messages as ingest reads them: a row of a dataset whose last answer is still to be given.

    Raises:
        RowRejected: ingest wouldn't read them.
    """
    (draft,) = read({"messages": [*messages, _ANSWER], **tools}, AS_USUAL).drafts
    return make_row(
        kind="conversation", source="request", locator="", raw=canonical_json(messages).encode(),
        messages=draft.messages, tools=draft.tools, meta=draft.meta,
    )  # fmt: skip
