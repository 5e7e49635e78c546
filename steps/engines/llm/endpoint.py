"""Where a language model is served, and how it is asked."""

import ipaddress
import os
from typing import Annotated, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator, model_validator

from steps.contracts.errors import ConfigError
from steps.contracts.reports import Frozen

# How a reply is held to a JSON schema: by the server's grammar, said in one of several dialects, to any JSON object, or
# by the prompt only. logprobs: nothing is said; asked is how probable each first word is.
#   json_schema         OpenAI, vLLM, llama.cpp's server, Ollama
#   json_object_schema  llama_cpp.server: {"type": "json_object", "schema": ...}
#   guided_json         vLLM before structured outputs: a field of its own
#   grammar             llama.cpp's server: the schema as GBNF in a field of its own
Mode: TypeAlias = Literal[
    "json_schema", "json_object_schema", "json_object", "guided_json", "grammar", "text", "logprobs"
]
# Those that are tried, one after the other, until the server doesn't refuse. The two fields aren't among them: servers
# that don't know them pass over them in silence.
MODES: tuple[Mode, ...] = ("json_schema", "json_object_schema", "json_object", "text")
_OWN_FIELDS = frozenset(
    {"model", "messages", "temperature", "seed", "stream", "n", "response_format", "logprobs", "top_logprobs"}
)
# Chosen: as many connections as one process holds without a second thought.
MOST_AT_ONCE = 512


def on_this_machine(url: str) -> bool:
    """Whether the address's host is a loopback address or a localhost name. Other names are not looked up."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Connection(Frozen):
    """An OpenAI-compatible server, and how patiently it is asked (OpenAI, vLLM, Ollama, llama.cpp ...)."""

    base_url: str = Field(description="up to and with the version: http://127.0.0.1:11434/v1")
    model: str = Field(min_length=1, description="the server's name of the model")
    key_env: str | None = Field(
        default=None, description="environment variable that holds the API key; None: the server wants no key"
    )
    # Chosen: eight requests keep a small local server busy; hosted services allow more.
    concurrency: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] | Literal["auto"] = Field(
        default=8,
        description="requests in flight at once, fewer while the server says 429 or doesn't answer in time; auto: from"
        " 8 on, doubled for as long as replies come faster for it",
    )
    # Chosen: a long reply of a slow local model; the openai client's own default is 600 s.
    timeout_seconds: float = Field(default=120.0, gt=0, description="from sending to the last byte, per attempt")
    # Six attempts with the waits below span about half a minute, which rides out a server's restart.
    max_attempts: int = Field(default=6, ge=1, le=20, description="attempts per request, the first one included")
    initial_backoff_seconds: float = Field(default=1.0, ge=0, description="wait after the first failure, then doubled")
    max_backoff_seconds: float = Field(default=30.0, ge=0, description="longest wait of our own choosing")
    # 120 s is the longest Retry-After that the openai client itself obeys.
    max_retry_after_seconds: float = Field(
        default=120.0, ge=0, description="longest Retry-After that is obeyed; a longer one ends the request"
    )
    give_up_after: int = Field(
        default=8, ge=1, description="requests in a row that fail for want of a working server before the run stops"
    )

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url {value!r} is no http(s) address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise ValueError("base_url holds a user name or password: name the key's variable in key_env instead")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _waits(self) -> Self:
        if self.initial_backoff_seconds > self.max_backoff_seconds:
            raise ValueError("initial_backoff_seconds is above max_backoff_seconds")
        return self

    @property
    def most_at_once(self) -> int:
        """As many requests as may ever be in flight."""
        return MOST_AT_ONCE if self.concurrency == "auto" else self.concurrency

    @property
    def on_this_machine(self) -> bool:
        """Whether the host is a loopback address or a localhost name. Other names are not looked up."""
        return on_this_machine(self.base_url)

    def read_key(self) -> str:
        """The API key, read now; a harmless word when the server wants none.

        Raises:
            ConfigError: `key_env` names a variable that isn't set.
        """
        if self.key_env is None:
            return "none"
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise ConfigError(
                f"the environment variable {self.key_env} is not set, and endpoint.key_env names it",
                where=self.base_url,
                hint=f"export {self.key_env}=..., or leave key_env out for a server that wants no key",
            )
        return key


class BatchSettings(Frozen):
    """Asking in batches (OpenAI's `/v1/batches`): files of requests, whose replies come within a day for less money."""

    # OpenAI, Anthropic and Google bill half in batches (their price lists, 2025).
    price_share: float = Field(default=0.5, gt=0, le=1, description="price in a batch / price of a single request")
    window: str = Field(default="24h", description="completion_window: within which time replies must come")
    # Chosen: a batch takes minutes at least.
    poll_seconds: float = Field(default=30.0, gt=0, description="time between two looks at a batch")


class Endpoint(Connection):
    """A chat endpoint."""

    temperature: float | None = Field(default=0.0, ge=0, le=2, description="None: not sent (some models refuse it)")
    seed: int | None = Field(default=None, description="sampling seed; None: not sent")
    # Chosen: four scores with a sentence each take about 200 tokens.
    max_tokens: int = Field(default=800, ge=1, description="longest reply, in tokens")
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="what the server calls that limit (OpenAI's reasoning models: the second)"
    )
    response_format: Literal[
        "auto", "json_schema", "json_object_schema", "json_object", "guided_json", "grammar", "text"
    ] = Field(
        default="auto",
        description="auto: the strictest of json_schema, json_object_schema (llama_cpp.server's), json_object and text"
        " that the server takes; guided_json (vLLM) and grammar (llama.cpp's GBNF) are fields of their own",
    )
    extra_body: dict[str, JsonValue] = Field(
        default_factory=dict, description="further request fields, for example vLLM's chat_template_kwargs"
    )

    batch: BatchSettings | None = Field(
        default=None, description="ask in batches, which cost less and take hours; None: request by request"
    )

    @model_validator(mode="after")
    def _no_clash(self) -> Self:
        clash = sorted((_OWN_FIELDS | {self.max_tokens_field}) & set(self.extra_body))
        if clash:
            raise ValueError(f"extra_body sets {', '.join(clash)}, which has a field of its own here")
        return self

    def decoding(self) -> dict[str, JsonValue]:
        """What shapes a reply beside the model and the messages; part of a reply's cache key."""
        return {
            "temperature": self.temperature,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
            "response_format": self.response_format,
            "extra_body": self.extra_body,
        }
