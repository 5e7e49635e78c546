"""What stands in a message: text, a number, an object, or parts (text, thinking, tool calls and results, media)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from steps.contracts.records import Row
from steps.engines.formats.dialects.calls import without_nulls
from steps.engines.formats.dialects.described import fields, type_of
from steps.engines.formats.dialects.parsing import json_text
from steps.engines.formats.rejected import RowRejected

# Kinds of parts, and keys of a message or a row, that hold a medium; by OpenAI, Anthropic, Gemini, LLaVA and others.
_MEDIUM = {
    "image": ("image", "images", "image_url", "input_image", "output_image", "image_base64", "image_path"),
    "audio": ("audio", "audios", "audio_url", "input_audio", "output_audio"),
    "video": ("video", "videos", "video_url", "input_video", "video_path"),
    "file": ("file", "input_file", "file_url", "document", "pdf", "inlineData", "inline_data", "fileData", "file_data"),
}
MEDIA = {name: medium for medium, names in _MEDIUM.items() for name in names}
# Of a row or message `file` and `document` name a place or hold text; only these hold what an answer may look at.
MEDIA_COLUMNS = {name: medium for name, medium in MEDIA.items() if medium != "file"}
_TEXT = ("text", "input_text", "output_text")
_THINKING = ("thinking", "reasoning", "thought", "redacted_thinking")
_CALL = ("tool_use", "tool_call", "tool-call", "function_call")
_RESULT = ("tool_result", "tool-result", "tool_response", "function_call_output", "function_response")
_SAYS = ("text", "thinking", "reasoning", "content", "summary", "refusal", "transcript")


@dataclass
class Content:
    """The parts of one message. results: (id of the call that it answers, text), ids None where none was given."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[Row] = field(default_factory=list)
    results: list[tuple[str | None, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Text parts are joined without a separator, as chat templates join them."""
        return "".join(self.texts)


def content_of(value: Any) -> Content:
    """The parts of a message's content, which isn't None.

    A number is its JSON text and an object its canonical JSON, without the keys that are null. Parts that are null
    are passed over.

    Raises:
        RowRejected: has_image, has_audio, has_video, has_file: a medium without a text that says the same; not_text:
            a part of no known kind.
    """
    content = Content()
    if isinstance(value, str):
        content.texts.append(value)
    elif isinstance(value, list):
        for part in value:
            _add(content, part)
    elif isinstance(value, dict):
        parts = value.get("parts")
        if isinstance(parts, list):
            return content_of(parts)
        if is_part(value):
            _add(content, value)
        else:
            content.texts.append(json_text(without_nulls(value)))
    else:
        content.texts.append(json_text(value))
    return content


def plain_text(value: Any) -> str:
    """The same as text, for places that hold nothing else; None is ""."""
    if value is None or isinstance(value, str):
        return value or ""
    content = content_of(value)
    if content.calls or content.results:
        raise RowRejected("not_text", "tool calls and results stand where only text may")
    return content.text


def value_text(value: Any) -> str:
    """A column's value as text: text and its parts as they are, other lists and objects as canonical JSON without the
    keys that are null, a number as its JSON text.
    """
    if isinstance(value, str):
        return value
    if is_part(value) or (isinstance(value, list) and value and all(is_part(v) for v in value)):
        return content_of(value).text
    return json_text(without_nulls(value))


def is_part(value: Any) -> bool:
    """Whether an object is a part of a content, by its `type` or because it is text alone, and not content itself."""
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    if isinstance(kind, str):
        return kind in _READERS or kind in MEDIA
    return isinstance(value.get("text"), str) and sum(v is not None for v in value.values()) == 1


def refuse_media(row: Row, what: str) -> None:
    """Raise RowRejected when a row or message has a medium in a key of its own; `what` says which of the two it is.

    What is said in a conversation may be about it, so that the text alone isn't what was said.
    """
    for key, value in row.items():
        if key in MEDIA_COLUMNS and value and without_nulls(value) not in ({}, [{}], [None]):
            raise _has(MEDIA_COLUMNS[key], f"{what} has `{key}` ({type_of(value)})")


def _has(medium: str, where: str) -> RowRejected:
    hint = f"{where}: {medium} can't be read, and what is said may be about it"
    return RowRejected(f"has_{medium}", hint)


def _add(content: Content, part: Any) -> None:
    if part is None:
        return
    if isinstance(part, str):
        content.texts.append(part)
        return
    if not isinstance(part, dict):
        raise RowRejected("not_text", f"a content part is {type_of(part)}, not text")
    part = {k: v for k, v in part.items() if v is not None}
    read = _READERS.get(_kind(part))
    if read is not None:
        read(content, part)
        return
    medium = _medium(part)
    if medium is None:
        raise RowRejected("not_text", f"a content part of no known kind: it has {fields(part)}")
    text = _alternative(part)
    if text is None:
        raise _has(medium, "a content part")
    content.texts.append(text)


def _kind(part: Row) -> str:
    """The part's `type`, or what its keys say (Gemini has no types)."""
    kind = part.get("type")
    if isinstance(kind, str):
        return kind
    if isinstance(part.get("text"), str):
        return "thinking" if part.get("thought") is True else "text"
    return next((k for k in ("functionCall", "functionResponse") if isinstance(part.get(k), dict)), "")


def _medium(part: Row) -> str | None:
    kind = part.get("type")
    if isinstance(kind, str):
        return MEDIA.get(kind)
    return next((MEDIA[k] for k, v in part.items() if k in MEDIA and v is not None), None)


def _alternative(part: Row) -> str | None:
    """Text that says what a medium says: a transcript, or a document given as text."""
    inner: Row = next((part[k] for k in ("input_audio", "audio", "source") if isinstance(part.get(k), dict)), {})
    for place in (part, inner):
        if isinstance(place.get("transcript"), str):
            return str(place["transcript"])
    return str(inner["data"]) if inner.get("type") == "text" and isinstance(inner.get("data"), str) else None


def _text(content: Content, part: Row) -> None:
    content.texts.append(_said(part, ("text", "refusal")))


def _thinking(content: Content, part: Row) -> None:
    if part.get("type") != "redacted_thinking":
        content.thoughts.append(_said(part, _SAYS))


def _said(part: Row, keys: tuple[str, ...]) -> str:
    value = next((part[k] for k in keys if part.get(k) is not None), None)
    if isinstance(value, dict):  # {"text": {"value": ...}}
        value = value.get("value")
    if isinstance(value, list):
        return "\n\n".join(_said(p, keys) if isinstance(p, dict) else str(p) for p in value)
    if not isinstance(value, str):
        raise RowRejected("not_text", f"a content part without text: it has {fields(part)}")
    return value


def _call(content: Content, part: Row) -> None:
    body = part["functionCall"] if isinstance(part.get("functionCall"), dict) else part
    content.calls.append({k: v for k, v in body.items() if k != "type"})


def _result(content: Content, part: Row) -> None:
    body = part["functionResponse"] if isinstance(part.get("functionResponse"), dict) else part
    said = next((body[k] for k in ("content", "output", "result", "response", "text") if body.get(k) is not None), None)
    call_id = next((body[k] for k in ("tool_use_id", "toolCallId", "tool_call_id", "call_id") if body.get(k)), None)
    content.results.append((call_id if isinstance(call_id, str) else None, plain_text(said)))


_READERS: dict[str, Callable[[Content, Row], None]] = {
    **dict.fromkeys((*_TEXT, "refusal"), _text),
    **dict.fromkeys(_THINKING, _thinking),
    **dict.fromkeys((*_CALL, "functionCall"), _call),
    **dict.fromkeys((*_RESULT, "functionResponse"), _result),
}
