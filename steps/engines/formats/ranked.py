"""Several answers to one prompt: pairs of better and worse by ranks or scores, else one row per answer."""

from itertools import combinations
from typing import Any

from steps.contracts.records import Row
from steps.engines.formats.chat import ALWAYS, conversation
from steps.engines.formats.columns import COMPLETIONS, PROMPTS, RESPONSES, first, given
from steps.engines.formats.dialects.content import refuse_media
from steps.engines.formats.dialects.messages import Turns, is_blank
from steps.engines.formats.dialects.parsing import parsed
from steps.engines.formats.format import Format, Parsed, Reading
from steps.engines.formats.marks import LABELS
from steps.engines.formats.preference import preference_of
from steps.engines.formats.prompts import RowTexts, Side, listed
from steps.engines.formats.ranking import badness_of, is_ranked
from steps.engines.formats.rejected import RowRejected

_COLUMNS = frozenset(RESPONSES)
_TEXTS = ("text", "content", *COMPLETIONS, "message", "messages")


def _looks(row: Row) -> bool:
    column = None if _COLUMNS.isdisjoint(row) else _responses(row)
    if column is None or (first(row, (*PROMPTS, "instruction")) is None and listed(row) is None):
        return False
    alone = given(row, COMPLETIONS) is None
    return (alone or is_ranked(row)) and not _has_answer(row)


def _responses(row: Row) -> str | None:
    return next((c for c in RESPONSES if _listed(row.get(c)) is not None), None)


def _listed(value: Any) -> list[Any] | None:
    """Several answers: a list, its JSON text, or SQuAD's {"text": [...]}."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = parsed(value, "")
        except RowRejected:
            return None
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value = value["text"]
    return value if isinstance(value, list) else None


def _has_answer(row: Row) -> bool:
    """Whether the row's messages are a whole conversation already."""
    column = listed(row)
    value = row[column] if column else None
    last = value[-1] if isinstance(value, list) and value else None
    return isinstance(last, dict) and last.get("role", last.get("from")) in ("assistant", "gpt")


def read(row: Row, how: Reading) -> Parsed:
    """A prompt and several answers, with ranks, scores or the best one beside or inside them.

    Where nothing ranks them every distinct answer makes a row of its own. SQuAD's answers are spellings of one: the
    commonest is the answer, and the others are kept in meta.
    """
    refuse_media(row, "the row")
    column = _responses(row)
    if column is None:
        raise RowRejected("missing_column", "ranked rows need a prompt and 'responses'")
    answers = _listed(row[column]) or []
    texts = RowTexts(row, how)
    start = texts.asked()
    if not answers:
        raise RowRejected("empty_answer", f"column {column!r} has no answer")
    labels = [k for k in (*LABELS, "labels") if row.get(k) is not None]
    if labels:
        hint = f"what `{labels[0]}` says about several answers isn't known; name it in the source's `as_meta`"
        raise RowRejected("bad_label", hint)
    badness, used = badness_of(row, answers)
    given_turns = [_turns(texts, a, column) for a in answers]
    if badness is None:
        return _several(texts, start, given_turns, column, spellings=isinstance(parsed(row[column], column), dict))
    return _pairs(texts, start, given_turns, badness, how, (*start.used, column, *ALWAYS, *used))


def _pairs(
    texts: RowTexts, start: Side, answers: list[Turns], badness: list[float], how: Reading, used: tuple[str, ...]
) -> Parsed:
    if len(answers) < 2:
        raise RowRejected("no_pair", "a ranked row needs at least two responses")
    order = sorted(range(len(answers)), key=lambda i: (badness[i], i))
    picked = [(order[0], order[-1])] if how.pairs == "best_worst" else list(combinations(order, 2))
    drafts = [
        preference_of(start.turns.messages, answers[a].messages, answers[b].messages, texts.tools)
        for a, b in picked
        if badness[a] < badness[b]
    ]
    if not drafts:
        raise RowRejected("no_pair", "all responses have the same rank")
    for draft in drafts:
        draft.meta = {**start.turns.meta(), **start.meta}
    return Parsed(drafts, used, tuple(n for t in (start.turns, *answers) for n in t.notes))


def _several(texts: RowTexts, start: Side, answers: list[Turns], column: str, *, spellings: bool) -> Parsed:
    """One conversation per distinct answer, in their order."""
    distinct: dict[str, Turns] = {}
    counts: dict[str, int] = {}
    for turns in answers:
        text = repr(turns.messages)
        distinct.setdefault(text, turns)
        counts[text] = counts.get(text, 0) + 1
    meta = dict(start.meta)
    if spellings:
        best = max(counts, key=lambda text: counts[text])
        others = [t.messages[-1]["content"] for text, t in distinct.items() if text != best]
        distinct, meta = {best: distinct[best]}, {**meta, **({"other_answers": others} if others else {})}
    made = [conversation(texts, start.turns + turns, (*start.used, column), meta) for turns in distinct.values()]
    notes = tuple(dict.fromkeys(n for p in made for n in p.notes))
    return Parsed([p.drafts[0] for p in made], made[0].used, notes, "answer")


def _turns(texts: RowTexts, answer: Any, column: str) -> Turns:
    if isinstance(answer, dict) and "role" not in answer and "from" not in answer:
        name = given(answer, _TEXTS)
        answer = answer[name] if name else None
    if answer is None or answer in ("", [], {}) or (isinstance(answer, str) and is_blank(answer)):
        raise RowRejected("empty_answer", "a response is blank")
    return texts.answer(answer, column)


RANKED = Format(_looks, read)
