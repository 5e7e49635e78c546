"""What a server refuses of a request, and what is sent in its place. Found out once per run, and said in its report."""

import re
from dataclasses import dataclass, field
from typing import Any

from steps.engines.llm.endpoint import Endpoint

_REFUSED = frozenset({400, 422})
# OpenAI's names of a field, or of its value, that a model doesn't take.
_CODES = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})
_UNSUPPORTED = re.compile(
    r"\b(?:unsupported|not supported|does ?n[o']t support|unrecognized|unknown|not permitted)\b", re.I
)
_LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# What of a server's words may be shown: names of fields and codes, which hold no text of a row.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,63}")


def param_of(error: Exception) -> str | None:
    """The request's field that a server's error names; None when it names none, or something else than a field."""
    return _name(getattr(error, "param", None))


def code_of(error: Exception) -> str | None:
    """The code of a server's error, likewise."""
    return _name(getattr(error, "code", None))


def shown(error: Exception) -> str:
    """The error's status or class, param and code; never the server's message, which may repeat the row."""
    status = getattr(error, "status", None)
    parts = [f"HTTP {status}" if status else type(error).__name__]
    parts += [f"{name} {value}" for name, value in (("param", param_of(error)), ("code", code_of(error))) if value]
    return ", ".join(parts)


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


@dataclass
class Adaptation:
    """How requests to one server differ from what the config says.

    Attributes:
        limit_field: what the server calls the longest reply.
        temperature: what is sent; None: nothing.
        said: a sentence on each difference.
    """

    limit_field: str
    temperature: float | None
    said: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, endpoint: Endpoint) -> "Adaptation":
        """No difference yet."""
        return cls(endpoint.max_tokens_field, endpoint.temperature)

    def state(self) -> tuple[str, float | None]:
        """What a request was made with."""
        return self.limit_field, self.temperature

    def learns(self, error: Exception, sent: tuple[str, float | None]) -> bool:
        """Whether a request made with `sent` may succeed now: the server refused a field for which there is another
        way, or another request has found that way meanwhile. Each field changes once.
        """
        if getattr(error, "status", None) not in _REFUSED:
            return False
        refused = _refused(error, sent)
        if refused is None:
            return False
        if sent != self.state():
            return True
        if refused == "temperature":
            self.temperature = None
            self.said.append(f"The server refuses temperature {sent[1]:g} for this model: its own was used.")
            return True
        if any("was sent" in line for line in self.said):
            return False
        self.limit_field = _LIMITS[refused]
        self.said.append(f"The server refuses {refused} for this model: {self.limit_field} was sent.")
        return True


def _refused(error: Exception, sent: tuple[str, float | None]) -> str | None:
    """The field of a request that the server refuses: temperature, or the limit's; None: neither, or it isn't said."""
    fields = [sent[0], *(["temperature"] if sent[1] is not None else [])]
    param = param_of(error)
    message = str(getattr(error, "message", ""))
    if code_of(error) not in _CODES and not _UNSUPPORTED.search(message):
        return None
    if param is not None:
        return param if param in fields else None
    # Servers that name no field in one of its own name it in their words.
    named = [f for f in fields if re.search(rf"(?<![\w]){f}(?![\w])", message)]
    return named[0] if len(named) == 1 else None
