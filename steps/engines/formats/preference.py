"""Preferences: a chosen and a rejected answer, or several answers with ranks."""

from itertools import combinations
from typing import Any

from steps.contracts.records import Row, message
from steps.engines.formats.columns import (
    COMPLETIONS,
    PROMPTS,
    first,
    first_value,
    is_transcript,
    prompt_turns,
    reply_turns,
    system_turn,
    transcript,
)
from steps.engines.formats.format import Draft, Format, Parsed
from steps.engines.formats.messages import checked, content_text, parsed, text_of_column, tools_text
from steps.engines.formats.rejected import RowRejected

_RESPONSES = ("responses", "completions", "answers", "outputs")
_RANKS = ("ranks", "rankings", "rank")
_SCORES = ("scores", "ratings", "score")


def read(row: Row) -> Parsed:
    """chosen and rejected, with `prompt` or with the prompt as their common start.

    Each side is text, a message, a list of messages, or hh-rlhf's transcript (`\\n\\nHuman: ...\\n\\nAssistant: ...`).
    """
    chosen, rejected = _side(row, "chosen"), _side(row, "rejected")
    if chosen[0]["role"] != "assistant" or rejected[0]["role"] != "assistant":
        prompt, chosen, rejected = _common_start(chosen, rejected)
        used: tuple[str, ...] = ("chosen", "rejected", "tools", "functions", "system")
        if isinstance(row.get("prompt"), str) and any(m["content"] == row["prompt"] for m in prompt):
            used = (*used, "prompt")
        prompt = [*system_turn(row), *prompt]
    else:
        column = first(row, PROMPTS)
        if column is None:
            raise RowRejected("missing_column", "a preference row needs `prompt`, or sides that start with it")
        prompt = [*system_turn(row), *prompt_turns(row, column)]
        used = ("chosen", "rejected", "tools", "functions", "system", column)
    return Parsed([preference_of(prompt, chosen, rejected, tools_text(row))], used)


def _side(row: Row, column: str) -> list[Row]:
    value = row.get(column)
    if isinstance(value, str) and is_transcript(value):
        turns = transcript(text_of_column(row, column))
    else:
        turns = reply_turns(row, column)
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


def preference_of(prompt: list[Row], chosen: list[Row], rejected: list[Row], tools: str | None) -> Draft:
    """A preference whose two sides differ and answer a user."""
    if chosen == rejected:
        raise RowRejected("same_answers", "chosen and rejected are equal")
    for side in (chosen, rejected):
        checked(side)
    if not any(m["role"] == "user" for m in prompt):
        raise RowRejected("no_user_turn", "the prompt of a preference needs a user turn")
    return Draft("preference", messages=prompt, chosen=chosen, rejected=rejected, tools=tools)


def read_ranked(row: Row, pairs: str = "best_worst") -> Parsed:
    """prompt and several responses with ranks (1 is best) or scores (more is better), beside or inside them."""
    prompt, responses = first(row, PROMPTS), first(row, _RESPONSES)
    if prompt is None or responses is None:
        raise RowRejected("missing_column", "ranked rows need `prompt` and `responses`")
    listed = parsed(row[responses], responses)
    if not isinstance(listed, list) or len(listed) < 2:
        raise RowRejected("no_pair", "a ranked row needs at least two responses")
    values, column = _badness(row, listed)
    start = [*system_turn(row), *prompt_turns(row, prompt)]
    order = sorted(range(len(listed)), key=lambda i: (values[i], i))
    picked = [(order[0], order[-1])] if pairs == "best_worst" else list(combinations(order, 2))
    tools = tools_text(row)
    drafts = [
        preference_of(start, [message("assistant", _said(listed[a]))], [message("assistant", _said(listed[b]))], tools)
        for a, b in picked
        if values[a] < values[b]
    ]
    if not drafts:
        raise RowRejected("no_pair", "all responses have the same rank")
    return Parsed(drafts, (prompt, responses, "system", "tools", "functions", *column))


def _badness(row: Row, listed: list[Any]) -> tuple[list[float], tuple[str, ...]]:
    """Smaller is better, one number per response; and the columns they came from."""
    for names, sign in ((_RANKS, 1.0), (_SCORES, -1.0)):
        column = first(row, names)
        values = parsed(row[column], column) if column else [_inside(r, names) for r in listed]
        if column is None and any(v is None for v in values):
            continue
        good = isinstance(values, list) and len(values) == len(listed)
        if not good or not all(isinstance(v, (int, float)) for v in values):
            raise RowRejected("bad_ranks", "there must be one number per response")
        return [sign * v for v in values], (column,) if column else ()
    raise RowRejected("no_ranking", "give `ranks` (1 is best) or `scores` (more is better), one per response")


def _inside(response: Any, names: tuple[str, ...]) -> Any:
    return first_value(response, (*names, "rating")) if isinstance(response, dict) else None


def _said(response: Any) -> str:
    if isinstance(response, dict):
        response = first_value(response, ("text", "content", *COMPLETIONS))
    text = content_text(response)
    if not text.strip():
        raise RowRejected("empty_answer", "a response is blank")
    return text


PREFERENCE = Format(lambda row: "chosen" in row and "rejected" in row, read)
RANKED = Format(
    lambda row: first(row, PROMPTS) is not None and isinstance(first_value(row, _RESPONSES), list), read_ranked
)
