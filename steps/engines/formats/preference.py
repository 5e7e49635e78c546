"""Preferences: a chosen and a rejected answer to one prompt."""

from dataclasses import replace
from typing import Any

from steps.contracts.records import Row
from steps.engines.formats.columns import COMPLETIONS, given
from steps.engines.formats.dialects.content import refuse_media
from steps.engines.formats.dialects.messages import Turns, checked
from steps.engines.formats.format import Draft, Format, Parsed, Reading
from steps.engines.formats.prompts import RowTexts, Side, is_transcript, listed, transcript
from steps.engines.formats.rejected import RowRejected

# TRL and LLaMA-Factory, ms-swift, OpenAI, StackExchange pairs (j is better), others.
CHOSEN = ("chosen", "chosen_response", "chosen_messages", "preferred_output", "preferred", "accepted", "response_j")
REJECTED = (
    "rejected", "rejected_response", "rejected_messages", "non_preferred_output", "dispreferred", "response_k",
)  # fmt: skip
_COLUMNS = frozenset(REJECTED)
_ALWAYS = ("tools", "functions", "system", "systemInstruction")


def _looks(row: Row) -> bool:
    """Two answers of which one is better; the better one may be the row's answer."""
    rejected = None if _COLUMNS.isdisjoint(row) else _side_in(row, REJECTED)
    if rejected is None or _side_in(row, CHOSEN) is not None:
        return rejected is not None
    alone = isinstance(row[rejected], (str, list, dict)) and bool(row[rejected])
    return alone and (given(row, COMPLETIONS) is not None or listed(row) is not None)


def _side_in(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of these columns with an answer; true or false says how the row was judged, and is none."""
    return next((n for n in names if row.get(n) is not None and not isinstance(row[n], bool)), None)


def read(row: Row, how: Reading) -> Parsed:
    """chosen and rejected, with a prompt (text, instruction or messages) or with the prompt as their common start.

    Each side is text, a message, a list of messages, or hh-rlhf's transcript (`\\n\\nHuman: ...\\n\\nAssistant: ...`).
    Without `chosen` the row's own answer (a completion, or the last turn of its messages) is the better one.
    """
    if isinstance(row.get("input"), dict) and "preferred_output" in row:  # OpenAI: {"input": {"messages": ...}}
        row = {**{k: v for k, v in row.items() if k != "input"}, **row["input"]}
    refuse_media(row, "the row")
    texts = RowTexts(row, how)
    chosen_in, rejected_in = _side_in(row, CHOSEN) or given(row, COMPLETIONS), _side_in(row, REJECTED)
    if rejected_in is None:
        there = any(name in row for name in REJECTED)
        raise RowRejected("missing_column", f"column 'rejected' is {'null' if there else 'missing'}")
    if chosen_in is None:
        prompt, chosen = _last_answer(texts)
        rejected = _side(texts, rejected_in)
    else:
        chosen, rejected = _side(texts, chosen_in), _side(texts, rejected_in)
        prompt, chosen, rejected = _parted(texts, chosen, rejected, chosen_in)
    used = (*prompt.used, *_ALWAYS, *((chosen_in,) if chosen_in else ()), rejected_in, "input")
    draft = preference_of(prompt.turns.messages, chosen.messages, rejected.messages, texts.tools)
    draft.meta = {
        **prompt.turns.meta(), **_sides_meta(chosen, "chosen"), **_sides_meta(rejected, "rejected"), **prompt.meta
    }  # fmt: skip
    return Parsed([draft], used, (*prompt.turns.notes, *chosen.notes, *rejected.notes))


def _sides_meta(turns: Turns, side: str) -> Row:
    return turns.meta(f"{side}_fields")


def _parted(texts: RowTexts, chosen: Turns, rejected: Turns, column: str) -> tuple[Side, Turns, Turns]:
    """The prompt, and the sides without it."""
    if chosen.messages[0]["role"] != "assistant" or rejected.messages[0]["role"] != "assistant":
        same = _common_start(chosen.messages, rejected.messages)
        start = Turns(chosen.messages[:same], *_extra(chosen, 0, same))
        better, worse = (Turns(t.messages[same:], *_extra(t, same, len(t.messages))) for t in (chosen, rejected))
        return Side(texts.system() + start, _said_again(texts, start.messages, chosen.messages)), better, worse
    prompt = texts.asked()
    turns = prompt.turns
    if turns.messages and turns.messages[-1]["role"] == "assistant":
        if turns.messages[-1]["content"] != chosen.messages[-1]["content"]:
            raise RowRejected("bad_prompt", "the prompt of a preference ends with an answer that isn't the chosen one")
        prompt = Side(Turns(turns.messages[:-1], *_extra(turns, 0, len(turns.messages) - 1)), prompt.used, prompt.meta)
    return prompt, chosen, rejected


def _extra(turns: Turns, start: int, stop: int) -> tuple[Row, list[str], str | None]:
    """What turns start to stop - 1 have beside their messages; notes belong to the first part."""
    extra = {str(int(i) - start): f for i, f in turns.extra.items() if start <= int(i) < stop}
    return extra, turns.notes if start == 0 else [], turns.think_tag


def _said_again(texts: RowTexts, start: list[Row], whole: list[Row]) -> tuple[str, ...]:
    """Columns that repeat what the sides hold: the prompt as text, or the chosen conversation as messages."""
    used: tuple[str, ...] = ("prompt",) if _repeats(texts.row.get("prompt"), start) else ()
    column = listed(texts.row)
    if column is not None and texts.turns(column).messages in (start, whole):
        used = (*used, column)
    return used


def _repeats(prompt: Any, start: list[Row]) -> bool:
    return isinstance(prompt, str) and any(m["content"] == prompt for m in start)


def _last_answer(texts: RowTexts) -> tuple[Side, Turns]:
    """The messages before the last turn, which is the better answer."""
    side = texts.asked()
    turns, at = side.turns, len(side.turns.messages) - 1
    if at < 1 or turns.messages[at]["role"] != "assistant":
        raise RowRejected("no_pair", "a rejected answer, but no better one: neither `chosen` nor an answer at the end")
    before = replace(turns, messages=turns.messages[:at], extra=_extra(turns, 0, at)[0])
    return Side(before, side.used, side.meta), Turns(turns.messages[at:], *_extra(turns, at, at + 1))


def _side(texts: RowTexts, column: str) -> Turns:
    value = texts.row[column]
    turns = Turns(transcript(value)) if isinstance(value, str) and is_transcript(value) else texts.answered(column)
    if not turns.messages:
        raise RowRejected("empty_conversation", f"column {column!r} is an empty list")
    return turns


def _common_start(chosen: list[Row], rejected: list[Row]) -> int:
    """How many turns both sides begin with."""
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    if same == len(chosen) == len(rejected):
        raise RowRejected("same_answers", "chosen and rejected are equal")
    if not same or not all(len(s) > same and s[same]["role"] == "assistant" for s in (chosen, rejected)):
        raise RowRejected("prompts_differ", "chosen and rejected must share their start and part at an assistant turn")
    return same


def preference_of(prompt: list[Row], chosen: list[Row], rejected: list[Row], tools: str | None) -> Draft:
    """A preference whose two sides differ and answer a user."""
    if chosen == rejected:
        raise RowRejected("same_answers", "chosen and rejected are equal")
    for side in (chosen, rejected):
        checked(side)
    if not any(m["role"] == "user" for m in prompt):
        raise RowRejected("no_user_turn", "the prompt of a preference needs a user turn")
    return Draft("preference", messages=prompt, chosen=chosen, rejected=rejected, tools=tools)


PREFERENCE = Format(_looks, read)
