"""One line of a log: a request with its answer, or what somebody said of an answer afterwards.

    {"id", "created", "latency", "request": {"model", "messages"}, "response": {"choices", "usage"}, "model_digest",
     "feedback", "correction", "consent"}

is what `assay serve --log` writes and what people log around OpenAI's client; `request` and `response` may have their
`body` one level deeper, or stand flat beside each other. A line with `feedback_on` is a word on the answer of that id.
What stands flat beside `messages` may have been sent by whoever asked: it is taken for no feedback and no consent.
"""

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, TypeGuard

from steps.contracts.digests import canonical_json, short_id
from steps.contracts.records import Row, make_row, message
from steps.engines.formats.format import AS_USUAL
from steps.engines.formats.openai import read
from steps.engines.formats.rejected import RowRejected
from steps.logs.files import UNFINISHED, LogLine

# Why a line can't be read.
NOT_UTF8, NOT_JSON, NOT_OBJECT = "not_utf8", "not_json", "not_an_object"
NO_REQUEST, NO_TIME, NO_RESPONSE, BAD_MESSAGES = "no_request", "no_time", "no_response", "bad_messages"
BAD_FEEDBACK = "bad_feedback"

Verdict: TypeAlias = Literal["accepted", "rejected"]
_DIGEST = re.compile(r"[0-9a-f]{12,64}")
# As the sources of a config have it.
_LABEL = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_EARLIEST, _LATEST = 946_684_800.0, 4_102_444_800.0  # the years 2000 and 2100
# More is milliseconds.
_SECONDS = 1e11
# Where seconds stand, and where milliseconds do.
_LATENCY, _LATENCY_MS = ("latency", "latency_s", "duration"), ("latency_ms", "duration_ms")
# Stands for an answer that there isn't, so that a request alone is read as a row is.
_NO_ANSWER = {"role": "assistant", "content": "x"}
_MOST_ID = 200
# What only a line with a request has.
_REQUESTS = frozenset({"request", "messages", "response", "choices"})
_LARGEST = 1e18


class LineError(Exception):
    """A line that can't be read; `reason` is its code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Feedback:
    """What was said of an answer. `consent`: label under which it may be used, "" where none is given, None where the
    line doesn't say; `order` of two on one answer the later one counts.
    """

    verdict: Verdict | None = None
    correction: str = ""
    consent: str | None = None
    unknown: bool = False
    order: tuple[float, str] = (0.0, "")


@dataclass(frozen=True)
class Entry:
    """A request as it was logged, and what is known of it that is no text.

    Attributes:
        key: of the answer, under which feedback names it; "" without one.
        created: seconds since 1970; latency: seconds, None where the log doesn't say.
        model: digest of the weights that answered; "" likewise.
        failed: there is no answer; cut: it had no more room.
    """

    record_id: str
    locator: str
    key: str
    created: float
    latency: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str
    failed: bool
    cut: bool
    feedback: Feedback

    def with_feedback(self, later: Feedback | None) -> "Entry":
        """The same with what was said afterwards; what that leaves open stays."""
        if later is None:
            return self
        own = self.feedback
        merged = replace(
            later, verdict=later.verdict or own.verdict, correction=later.correction or own.correction,
            consent=own.consent if later.consent is None else later.consent, unknown=later.unknown or own.unknown,
        )  # fmt: skip
        return replace(self, feedback=merged)


def ids_of(raw: bytes, source: str) -> tuple[str, str]:
    """Record id and locator of a line: by its bytes, so that they stay when the file is rotated."""
    locator = f"line:{short_id(raw)}"
    return short_id(f"{source}/log", locator, raw), locator


def parsed(line: LogLine) -> dict[str, Any]:
    """The line as an object.

    Raises:
        LineError: it is none.
    """
    if line.fault:
        raise LineError(line.fault)
    try:
        value = json.loads(line.raw.decode("utf-8"), parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is no text
    except UnicodeDecodeError as e:
        raise LineError(NOT_UTF8 if line.ended else UNFINISHED) from e
    except (ValueError, RecursionError) as e:
        raise LineError(NOT_JSON if line.ended else UNFINISHED) from e
    if not isinstance(value, dict):
        raise LineError(NOT_OBJECT if line.ended else UNFINISHED)
    return value


def _refuse(name: str) -> float:
    raise ValueError(name)


def feedback_line(value: dict[str, Any]) -> tuple[str, Feedback] | None:
    """The answer's id and what is said of it; None where the line is no feedback.

    Raises:
        LineError: it names no answer, or says nothing.
    """
    if "feedback_on" not in value or _REQUESTS.intersection(value):
        return None
    key, said = value["feedback_on"], _feedback(value)
    if not isinstance(key, str) or not 0 < len(key) <= _MOST_ID or said == Feedback(order=said.order):
        raise LineError(BAD_FEEDBACK)
    return key, said


def entry(value: dict[str, Any], raw: bytes, source: str) -> tuple[Entry, Row]:
    """A request and its row: a conversation that ends with the answer, or, where somebody put that right, a preference
    for the correction over the answer; a failed request has no answer.

    Raises:
        LineError: it is no such line.
    """
    request, response = _body(value.get("request", value)), _response(value)
    if not isinstance(request.get("messages"), list) or not request["messages"]:
        raise LineError(NO_REQUEST)
    answer, failed = _answer(value, response)
    record_id, locator = ids_of(raw, source)
    created = _time(value.get("created"), response.get("created"), value.get("timestamp"))
    usage = _body(response.get("usage"))
    choice = _choice(response)
    key = value.get("id") or response.get("id")
    found = Entry(
        record_id, locator, key if isinstance(key, str) and len(key) <= _MOST_ID else "", created, _latency(value),
        _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _digest(value, response), failed,
        not failed and choice.get("finish_reason") == "length", _feedback(value) if "request" in value else Feedback(),
    )  # fmt: skip
    return found, _row(found, request, answer, raw, source)


def corrected(row: Row, by: Feedback, raw: bytes) -> Row:
    """The row with a correction that was said afterwards: a preference for it over the answer."""
    if not by.correction or row["kind"] != "conversation" or not _ends_with_answer(row):
        return row
    answer = row["messages"][-1]
    if answer["content"].strip() == by.correction.strip():
        return row
    return make_row(
        kind="preference", source=row["source"], locator=row["locator"], raw=raw, messages=row["messages"][:-1],
        chosen=[message("assistant", by.correction)], rejected=[answer], tools=row["tools"],
    )  # fmt: skip


def _ends_with_answer(row: Row) -> bool:
    return bool(row["messages"]) and row["messages"][-1]["role"] == "assistant"


def _row(found: Entry, request: dict[str, Any], answer: dict[str, Any] | None, raw: bytes, source: str) -> Row:
    tools = {"tools": request["tools"]} if isinstance(request.get("tools"), list) and request["tools"] else {}
    empty = answer is not None and _says_nothing(answer)
    shown = _NO_ANSWER if answer is None or empty else answer
    try:
        (draft,) = read({"messages": [*request["messages"], shown], **tools}, AS_USUAL).drafts
    except (RowRejected, ValueError) as e:
        raise LineError(BAD_MESSAGES) from e
    messages = [*draft.messages[:-1], message("assistant", "")] if empty else draft.messages
    messages = messages if answer is not None else messages[:-1]
    row = make_row(
        kind="conversation", source=f"{source}/log", locator=found.locator, raw=raw, messages=messages,
        tools=draft.tools,
    )  # fmt: skip
    return corrected(row, found.feedback, raw)


def _says_nothing(answer: dict[str, Any]) -> bool:
    """Whether an answer is blank, which no row to train on may be; production's may."""
    content = answer["content"]
    called = answer.get("tool_calls") or answer.get("function_call") or answer.get("reasoning_content")
    return isinstance(content, str) and not content.strip() and not called


def _body(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("body"), dict):
        value = value["body"]
    return value if isinstance(value, dict) else {}


def _response(value: dict[str, Any]) -> dict[str, Any]:
    return _body(value.get("response", value if "choices" in value else None))


def _choice(response: dict[str, Any]) -> dict[str, Any]:
    choices = response.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _answer(value: dict[str, Any], response: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """The answer's message, and whether the request failed instead."""
    said = _choice(response).get("message")
    if isinstance(said, dict):
        # Null beside a call: nothing is said.
        return {**said, "role": "assistant", "content": "" if said.get("content") is None else said["content"]}, False
    status = [v.get("status", v.get("status_code")) for v in (value, value.get("response")) if isinstance(v, dict)]
    if any(_is_number(s) and s >= 400 for s in status) or value.get("error") or response.get("error"):
        return None, True
    raise LineError(NO_RESPONSE)


def _feedback(value: dict[str, Any]) -> Feedback:
    said = value.get("feedback")
    inner = said if isinstance(said, dict) else {}
    verdict = inner.get("verdict") if isinstance(said, dict) else said
    correction = inner.get("correction", value.get("correction"))
    consent = inner.get("consent", value.get("consent"))
    known: Verdict | None = "accepted" if verdict == "accepted" else "rejected" if verdict == "rejected" else None
    text = correction if isinstance(correction, str) and correction.strip() else ""
    label = consent if isinstance(consent, str) and _LABEL.fullmatch(consent) else ""
    given = "consent" in inner or "consent" in value
    at = value.get("created")
    order = (float(at) if _is_number(at) else 0.0, canonical_json([verdict, text, label]) if known or text else "")
    unknown = (verdict is not None and known is None) or (correction is not None and not text)
    return Feedback(known, text, label if given else None, unknown, order)


def _digest(value: dict[str, Any], response: dict[str, Any]) -> str:
    found = value.get("model_digest") or response.get("model_digest") or response.get("system_fingerprint")
    return found if isinstance(found, str) and _DIGEST.fullmatch(found) else ""


def _time(*candidates: Any) -> float:
    """Seconds since 1970 of the first that says a time.

    Raises:
        LineError: none does.
    """
    for value in candidates:
        seconds = _seconds(value)
        if seconds is not None and _EARLIEST <= seconds < _LATEST:
            return seconds
    raise LineError(NO_TIME)


def _seconds(value: Any) -> float | None:
    if _is_number(value):
        return float(value) / 1000 if value > _SECONDS else float(value)
    try:
        time = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return None
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()


def _latency(value: dict[str, Any]) -> float | None:
    for names, unit in ((_LATENCY, 1.0), (_LATENCY_MS, 1000.0)):
        for name in names:
            if _is_number(value.get(name)) and value[name] >= 0:
                return float(value[name]) / unit
    return None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else None


def _is_number(value: Any) -> TypeGuard[int | float]:
    """Whether it is a number of ordinary size: JSON's integers have any, and its floats may be infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
