"""Row formats: how each is recognised, and how one row of it becomes records."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from steps.contracts.errors import InputError
from steps.contracts.records import KINDS, SCHEMA, Kind, Row, message
from steps.ingest.config import Format
from steps.ingest.messages import (
    checked,
    content_text,
    openai_messages,
    parsed,
    sharegpt_messages,
    text_of_column,
    tools_text,
)
from steps.ingest.rejects import RowRejected

PROMPTS = ("prompt", "question", "query", "problem", "input", "source")
COMPLETIONS = ("completion", "answer", "response", "output", "solution", "target")
_ALPACA_OUTPUTS = ("output", "response", "completion")
_ALPACA_INPUTS = ("input", "context")
_RESPONSES = ("responses", "completions", "answers", "outputs")
_RANKS = ("ranks", "rankings", "rank")
_SCORES = ("scores", "ratings", "score")
_TEXTS = ("text", "content")
_LISTS = ("messages", "conversations", "conversation")
_COLUMN = re.compile(r"[^\W\d][\w .:/-]{0,39}")
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")


@dataclass
class Draft:
    """A record before it has ids."""

    kind: Kind
    messages: list[Row] = field(default_factory=list)
    chosen: list[Row] = field(default_factory=list)
    rejected: list[Row] = field(default_factory=list)
    tools: str | None = None
    text: str | None = None
    label: bool | None = None
    score: float | None = None
    meta: Row = field(default_factory=dict)


@dataclass
class Parsed:
    """What one row says: one draft, or several pairs made from it, and the columns that were used."""

    drafts: list[Draft]
    used: tuple[str, ...]


# --- recognising ------------------------------------------------------------------------------------------------------


def detect(row: Row) -> Format | None:
    """The format that a row looks like; None for none."""
    return next((name for name, fits in _LOOKS.items() if fits(row)), None)


def detect_most(rows: Iterable[Row], where: str) -> Format:
    """The format that most of the rows look like.

    Raises:
        InputError: none of them looks like a known format; the message lists the columns found.
    """
    rows = list(rows)
    votes = Counter(f for f in map(detect, rows) if f is not None)
    if votes:
        return max(votes, key=lambda f: (votes[f], f))
    found = sorted({str(k) for row in rows for k in row})
    raise InputError(
        f"no known row format; the columns are {listed(found)}",
        where=where,
        hint="set `columns`, such as {prompt: <column>, completion: <column>}, or rename the columns to one of:"
        " messages; conversations; instruction and output; prompt and completion; chosen and rejected; text",
    )


def check_columns(rows: Iterable[Row], columns: dict[str, str], where: str) -> None:
    """Raise InputError when a mapped column is in none of the rows, with the nearest spelling."""
    found = sorted({str(k) for row in rows for k in row})
    for name in columns.values():
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            hint = f"did you mean {near[0][:40]!r}?" if near else "correct `columns`"
            raise InputError(f"no column {name!r}; the columns are {listed(found)}", where=where, hint=hint)


def renamed(row: Row, columns: dict[str, str]) -> Row:
    """The row under standard column names. A row that lacks a mapped column keeps what it has."""
    taken = set(columns.values())
    out = {k: v for k, v in row.items() if k not in taken and k not in columns}
    out.update({name: row[column] for name, column in columns.items() if column in row})
    return out


def listed(names: list[str]) -> str:
    """Column names for a message. What doesn't look like a name is hidden: in a CSV without header it is data."""
    plain = [n for n in names if _COLUMN.fullmatch(n)]
    shown = [repr(n) for n in plain[:30]]
    if len(shown) < len(names):
        shown.append(f"{len(names) - len(shown)} more")
    return ", ".join(shown) or "none"


def _first_turn(row: Row) -> Row | None:
    """The first message of a row's message list; {} of an empty list's; None when there is no list."""
    for column in _LISTS:
        value = row.get(column)
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = parsed(value, column)
            except RowRejected:
                continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return value[0]
    return None


def _first(row: Row, names: tuple[str, ...]) -> str | None:
    return next((n for n in names if n in row), None)


def _first_value(row: Row, names: tuple[str, ...]) -> Any:
    name = _first(row, names)
    return row[name] if name else None


def _pair(row: Row) -> tuple[str, str] | None:
    prompt, completion = _first(row, PROMPTS), _first(row, COMPLETIONS)
    return (prompt, completion) if prompt and completion else None


def _is_tree(row: Row) -> bool:
    return isinstance(row.get("prompt"), dict) and "replies" in row["prompt"]


# The first that fits wins.
_LOOKS: dict[Format, Callable[[Row], bool]] = {
    "record": lambda row: "record_id" in row and "content_id" in row and "kind" in row,
    "openai": lambda row: "role" in (_first_turn(row) or {}),
    "sharegpt": lambda row: "from" in (_first_turn(row) or {}),
    "oasst_rows": lambda row: "message_id" in row and "parent_id" in row and "text" in row,
    "oasst": _is_tree,
    "preference": lambda row: "chosen" in row and "rejected" in row,
    "ranked": lambda row: _first(row, PROMPTS) is not None and isinstance(_first_value(row, _RESPONSES), list),
    "alpaca": lambda row: "instruction" in row and _first(row, _ALPACA_OUTPUTS) is not None,
    "prompt_completion": lambda row: _pair(row) is not None,
    "text": lambda row: isinstance(_first_value(row, _TEXTS), str),
}


# --- reading ----------------------------------------------------------------------------------------------------------


def parse_record(row: Row) -> Parsed:
    """A record as a dataset version exports it; its old id and what led to it are kept in meta."""
    kind = row.get("kind")
    if kind not in KINDS:
        raise RowRejected("unknown_kind", f"a record's kind is one of {', '.join(KINDS)}")
    used = tuple(SCHEMA.names)
    meta = parsed(row.get("meta") or "{}", "meta")
    meta = {**(meta if isinstance(meta, dict) else {}), "record_id": row.get("record_id")}
    if kind == "document":
        return Parsed([Draft("document", text=text_of_column(row, "text"), meta=meta)], used)
    messages, chosen, rejected = (_record_messages(row, c) for c in ("messages", "chosen", "rejected"))
    if kind == "preference":
        draft = _preference(messages, chosen, rejected, tools_text(row))
    else:
        draft = Draft("conversation", messages=checked(messages), tools=tools_text(row))
    draft.meta = meta
    draft.label, draft.score = row.get("label"), row.get("score")
    return Parsed([draft], used)


def _record_messages(row: Row, column: str) -> list[Row]:
    stored = parsed(row.get(column) or [], column)
    messages, _ = openai_messages(stored, column)
    return [{**m, **{k: s.get(k) for k in ("weight", "reasoning")}} for m, s in zip(messages, stored, strict=True)]


def parse_openai(row: Row) -> Parsed:
    """messages (role, content, tool_calls), tools, system."""
    column = _first(row, _LISTS)
    if column is None:
        raise RowRejected("missing_column", "column 'messages' is missing")
    messages, extra = openai_messages(row[column], column)
    return _conversation(row, messages, extra, column)


def parse_sharegpt(row: Row) -> Parsed:
    """conversations (from, value), system, tools."""
    column = _first(row, ("conversations", "conversation", "messages"))
    if column is None:
        raise RowRejected("missing_column", "column 'conversations' is missing")
    messages, extra = sharegpt_messages(row[column], column)
    return _conversation(row, messages, extra, column)


def _conversation(row: Row, messages: list[Row], extra: Row, column: str) -> Parsed:
    draft = Draft("conversation", messages=[*_system(row), *checked(messages)], tools=tools_text(row))
    if extra:
        draft.meta["message_fields"] = extra
    return Parsed([draft], (column, "tools", "functions", "system"))


def _system(row: Row) -> list[Row]:
    text = text_of_column(row, "system", blank=True) if "system" in row else ""
    return [message("system", text)] if text.strip() else []


def parse_alpaca(row: Row) -> Parsed:
    """instruction, input, output, system, history ([[user, assistant], ...]).

    `input` follows the instruction after a blank line; where it starts is kept in meta as alpaca_input_at.
    """
    output = _first(row, _ALPACA_OUTPUTS) or "output"
    used_input = _first(row, _ALPACA_INPUTS) or "input"
    instruction, given = text_of_column(row, "instruction"), text_of_column(row, used_input, blank=True)
    answer = text_of_column(row, output)
    asked = f"{instruction}\n\n{given}" if given.strip() else instruction
    messages = [*_system(row), *_history(row), message("user", asked), message("assistant", answer)]
    meta = {"alpaca_input_at": len(instruction) + 2} if given.strip() else {}
    used = ("instruction", used_input, output, "system", "history")
    return Parsed([Draft("conversation", messages=messages, meta=meta)], used)


def _history(row: Row) -> list[Row]:
    out: list[Row] = []
    for pair in parsed(row.get("history"), "history") or []:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)):
            raise RowRejected("bad_history", "history must be a list of [user text, assistant text]")
        out += [message("user", pair[0]), message("assistant", pair[1])]
    return out


def parse_prompt_completion(row: Row) -> Parsed:
    """prompt and completion, or their aliases (PROMPTS, COMPLETIONS); each text or a list of messages."""
    prompt, completion = _pair(row) or ("prompt", "completion")
    messages = [*_system(row), *_prompt(row, prompt), *_reply(row, completion)]
    draft = Draft("conversation", messages=checked(messages), tools=tools_text(row))
    return Parsed([draft], (prompt, completion, "system", "tools", "functions"))


def _prompt(row: Row, column: str) -> list[Row]:
    if isinstance(row.get(column), list):
        return openai_messages(row[column], column)[0]
    text = text_of_column(row, column)
    if _is_transcript(text):
        turns = transcript(text)
        if turns[-1]["role"] == "assistant" and not turns[-1]["content"]:
            return turns[:-1]
    return [message("user", text)]


def _reply(row: Row, column: str) -> list[Row]:
    value = row.get(column)
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        return openai_messages(value, column)[0]
    return [message("assistant", text_of_column(row, column))]


def parse_preference(row: Row) -> Parsed:
    """chosen and rejected, with `prompt` or with the prompt as their common start.

    Each side is text, a message, a list of messages, or hh-rlhf's transcript (`\\n\\nHuman: ...\\n\\nAssistant: ...`).
    """
    chosen, rejected = _side(row, "chosen"), _side(row, "rejected")
    if chosen[0]["role"] != "assistant" or rejected[0]["role"] != "assistant":
        prompt, chosen, rejected = _common_start(chosen, rejected)
        used: tuple[str, ...] = ("chosen", "rejected", "tools", "functions", "system")
        if isinstance(row.get("prompt"), str) and any(m["content"] == row["prompt"] for m in prompt):
            used = (*used, "prompt")
        prompt = [*_system(row), *prompt]
    else:
        column = _first(row, PROMPTS)
        if column is None:
            raise RowRejected("missing_column", "a preference row needs `prompt`, or sides that start with it")
        prompt = [*_system(row), *_prompt(row, column)]
        used = ("chosen", "rejected", "tools", "functions", "system", column)
    return Parsed([_preference(prompt, chosen, rejected, tools_text(row))], used)


def _side(row: Row, column: str) -> list[Row]:
    value = row.get(column)
    if isinstance(value, str) and _is_transcript(value):
        turns = transcript(text_of_column(row, column))
    else:
        turns = _reply(row, column)
    if not turns:
        raise RowRejected("empty_conversation", f"column {column!r} is an empty list")
    return turns


def _common_start(chosen: list[Row], rejected: list[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    if same == len(chosen) == len(rejected):
        raise RowRejected("same_answers", "chosen and rejected are equal")
    prompt, sides = chosen[:same], (chosen[same:], rejected[same:])
    if not prompt or not all(s and s[0]["role"] == "assistant" for s in sides):
        raise RowRejected("prompts_differ", "chosen and rejected must share their start and part at an assistant turn")
    return prompt, sides[0], sides[1]


def _preference(prompt: list[Row], chosen: list[Row], rejected: list[Row], tools: str | None) -> Draft:
    if chosen == rejected:
        raise RowRejected("same_answers", "chosen and rejected are equal")
    for side in (chosen, rejected):
        checked(side)
    if not any(m["role"] == "user" for m in prompt):
        raise RowRejected("no_user_turn", "the prompt of a preference needs a user turn")
    return Draft("preference", messages=prompt, chosen=chosen, rejected=rejected, tools=tools)


def _is_transcript(text: str) -> bool:
    return text.lstrip().startswith("Human:")


def transcript(text: str) -> list[Row]:
    """Messages of hh-rlhf's transcript form; a turn's text is stripped. Only the last turn may be blank."""
    pieces = _TURN.split(text.lstrip("\n"))
    if pieces[0].strip():
        raise RowRejected("bad_transcript", "a transcript must start with 'Human:'")
    turns = [
        message("user" if who == "Human" else "assistant", said.strip())
        for who, said in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    if any(not t["content"] for t in turns[:-1]):
        raise RowRejected("empty_text", "a turn of the transcript is blank")
    return turns


def parse_ranked(row: Row, pairs: str) -> Parsed:
    """prompt and several responses with ranks (1 is best) or scores (more is better), beside or inside them."""
    prompt, responses = _first(row, PROMPTS), _first(row, _RESPONSES)
    if prompt is None or responses is None:
        raise RowRejected("missing_column", "ranked rows need `prompt` and `responses`")
    listed = parsed(row[responses], responses)
    if not isinstance(listed, list) or len(listed) < 2:
        raise RowRejected("no_pair", "a ranked row needs at least two responses")
    values, column = _badness(row, listed)
    start = [*_system(row), *_prompt(row, prompt)]
    order = sorted(range(len(listed)), key=lambda i: (values[i], i))
    picked = [(order[0], order[-1])] if pairs == "best_worst" else list(combinations(order, 2))
    tools = tools_text(row)
    drafts = [
        _preference(start, [message("assistant", _said(listed[a]))], [message("assistant", _said(listed[b]))], tools)
        for a, b in picked
        if values[a] < values[b]
    ]
    if not drafts:
        raise RowRejected("no_pair", "all responses have the same rank")
    return Parsed(drafts, (prompt, responses, "system", "tools", "functions", *column))


def _badness(row: Row, listed: list[Any]) -> tuple[list[float], tuple[str, ...]]:
    """Smaller is better, one number per response; and the columns they came from."""
    for names, sign in ((_RANKS, 1.0), (_SCORES, -1.0)):
        column = _first(row, names)
        values = parsed(row[column], column) if column else [_inside(r, names) for r in listed]
        if column is None and any(v is None for v in values):
            continue
        good = isinstance(values, list) and len(values) == len(listed)
        if not good or not all(isinstance(v, (int, float)) for v in values):
            raise RowRejected("bad_ranks", "there must be one number per response")
        return [sign * v for v in values], (column,) if column else ()
    raise RowRejected("no_ranking", "give `ranks` (1 is best) or `scores` (more is better), one per response")


def _inside(response: Any, names: tuple[str, ...]) -> Any:
    return _first_value(response, (*names, "rating")) if isinstance(response, dict) else None


def _said(response: Any) -> str:
    if isinstance(response, dict):
        response = _first_value(response, ("text", "content", *COMPLETIONS))
    text = content_text(response)
    if not text.strip():
        raise RowRejected("empty_answer", "a response is blank")
    return text


def parse_text(row: Row) -> Parsed:
    """text (or content) as a document."""
    column = _first(row, _TEXTS) or "text"
    return Parsed([Draft("document", text=text_of_column(row, column))], (column,))


PARSERS: dict[str, Callable[[Row], Parsed]] = {
    "record": parse_record,
    "openai": parse_openai,
    "sharegpt": parse_sharegpt,
    "alpaca": parse_alpaca,
    "prompt_completion": parse_prompt_completion,
    "preference": parse_preference,
    "text": parse_text,
}
