"""Several answers to one prompt: pairs of better and worse by ranks or scores, else one row per answer."""

import math
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
from steps.engines.formats.rejected import RowRejected

_RANKS = ("ranks", "rankings", "ranking", "rank")
_SCORES = ("scores", "ratings", "rewards", "score", "rating", "reward")
# Inside a response, by the data sets that have them: UltraFeedback's, StackExchange's.
_SCORES_INSIDE = (*_SCORES, "fine-grained_score", "overall_score", "pm_score", "votes", "upvotes", "likes")
_TEXTS = ("text", "content", *COMPLETIONS, "message", "messages")


def _looks(row: Row) -> bool:
    column = _responses(row)
    if column is None or (first(row, (*PROMPTS, "instruction")) is None and listed(row) is None):
        return False
    alone = given(row, COMPLETIONS) is None
    return (alone or given(row, (*_RANKS, *_SCORES)) is not None) and not _has_answer(row)


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
    """A prompt and several answers, with ranks (1 is best) or scores (more is better) beside or inside them.

    Without ranks and scores every distinct answer makes a row of its own. SQuAD's answers are spellings of one: the
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
    badness, used = _badness(row, answers)
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


def _badness(row: Row, answers: list[Any]) -> tuple[list[float] | None, tuple[str, ...]]:
    """Smaller is better, one number per response (None: nothing ranks them), and the columns they came from."""
    for names, inside, sign in ((_RANKS, _RANKS, 1.0), (_SCORES, _SCORES_INSIDE, -1.0)):
        column = given(row, names)
        values = parsed(row[column], column) if column else [_inside(a, inside) for a in answers]
        if not isinstance(values, list):
            continue  # a score of the row, which ranks nothing
        if column is None and all(v is None for v in values):
            continue
        numbers = [_number(v) for v in values]
        if len(numbers) != len(answers) or any(n is None for n in numbers):
            raise RowRejected("bad_ranks", "there must be one number per response")
        return [sign * n for n in numbers if n is not None], (column,) if column else ()
    return None, ()


def _inside(answer: Any, names: tuple[str, ...]) -> Any:
    """The rank or score that stands in a response; UltraFeedback's ratings by aspect give their mean."""
    if not isinstance(answer, dict):
        return None
    found = given(answer, names)
    if found is not None or "score" not in names or not isinstance(answer.get("annotations"), dict):
        return answer[found] if found else None
    ratings = [_number(a.get("Rating")) for a in answer["annotations"].values() if isinstance(a, dict)]
    known = [r for r in ratings if r is not None]
    return sum(known) / len(known) if known else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _turns(texts: RowTexts, answer: Any, column: str) -> Turns:
    if isinstance(answer, dict) and "role" not in answer and "from" not in answer:
        name = given(answer, _TEXTS)
        answer = answer[name] if name else None
    if answer is None or answer in ("", [], {}) or (isinstance(answer, str) and is_blank(answer)):
        raise RowRejected("empty_answer", "a response is blank")
    return texts.answer(answer, column)


RANKED = Format(_looks, read)
