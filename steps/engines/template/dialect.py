"""What a chat template wants of messages, found out by rendering small conversations with it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, TypeAlias

from steps.contracts.errors import TrainingDataError

_USER = {"role": "user", "content": "probe"}
_ID, _LONG_ID = "probe0001", "call_probe_0001"
_NAME, _VALUE, _REASON, _TEXT = "probe_call", "probe-value", "probe-reason", "probe-text"
_PARAMETERS = {"type": "object", "properties": {"probe_key": {"type": "string", "description": "d"}}}
_TOOL = {"type": "function", "function": {"name": _NAME, "description": "d", "parameters": _PARAMETERS}}


@dataclass(frozen=True)
class Dialect:
    """How messages are handed to a template.

    Attributes:
        writes_reasoning: whether it writes a message's reasoning_content at all.
        arguments_as_text: a call's arguments are JSON text, not an object.
        short_ids: ids of calls must be nine letters and digits.
        text_breaks_calls: a message with text and calls is refused, or its calls aren't written.
        writes_tools: whether it writes the tools that a conversation offers.
    """

    writes_reasoning: bool = False
    arguments_as_text: bool = False
    short_ids: bool = False
    text_breaks_calls: bool = False
    writes_tools: bool = False


# (template, messages, tools, special tokens by name) -> text; raises TrainingDataError where the template refuses.
RenderText: TypeAlias = Callable[[str, list[dict[str, Any]], list[dict[str, Any]] | None, Mapping[str, Any]], str]


def dialect_of(template: str, special: Mapping[str, Any], render_text: RenderText) -> Dialect:
    """The dialect of a template; `special`: the tokenizer's special tokens by name, which templates may write."""
    return _probed(template, tuple(sorted((k, v) for k, v in special.items() if isinstance(v, str))), render_text)


@lru_cache(maxsize=64)
def _probed(template: str, special: tuple[tuple[str, str], ...], render_text: RenderText) -> Dialect:
    def rendered(message: dict[str, Any] | None, tools: list[dict[str, Any]] | None = None) -> str:
        said = [] if message is None else [{"role": "assistant", **message}]
        try:
            return render_text(template, [_USER, *said], tools, dict(special))
        except TrainingDataError:
            return ""

    def writes(message: dict[str, Any]) -> bool:
        text = rendered(message, [_TOOL])
        return _VALUE in text.rpartition(_NAME)[2]

    found = Dialect(
        writes_reasoning=_REASON in rendered({"content": "a", "reasoning_content": _REASON}),
        writes_tools=rendered(None, [_TOOL]) != rendered(None),
    )
    # Contents of None are not tried: transformers leaves such keys out, so no template sees them at inference.
    for text, short in product((False, True), repeat=2):
        found = replace(found, arguments_as_text=text, short_ids=short)
        if writes(_calling(found, "")):
            return replace(found, text_breaks_calls=not writes(_calling(found, _TEXT)))
    return replace(found, arguments_as_text=False, short_ids=False)


def _calling(dialect: Dialect, content: str) -> dict[str, Any]:
    arguments: Any = {"probe_key": _VALUE}
    arguments = json.dumps(arguments) if dialect.arguments_as_text else arguments
    call = {"type": "function", "function": {"name": _NAME, "arguments": arguments}}
    return {"content": content, "tool_calls": [{"id": _ID if dialect.short_ids else _LONG_ID, **call}]}
