"""Which of several answers are better: by ranks, scores, an order, or the best one."""

import math
from typing import Any

from steps.contracts.records import Row
from steps.engines.formats.columns import given
from steps.engines.formats.dialects.described import fields
from steps.engines.formats.dialects.parsing import parsed
from steps.engines.formats.rejected import RowRejected

_RANKS = ("ranks", "rankings", "ranking", "rank")
_SCORES = ("scores", "ratings", "rewards", "votes", "upvotes", "likes", "score", "rating", "reward")
# Inside a response, by the data sets that have them: UltraFeedback's, StackExchange's.
_SCORES_INSIDE = (*_SCORES, "fine-grained_score", "overall_score", "pm_score")
# Those that say it of several answers.
PLURAL = ("ranks", "rankings", "scores", "ratings", "rewards")
_BEST = ("best", "best_index", "best_response", "best_answer", "preferred", "winner", "selected", "choice", "chosen")


def is_ranked(row: Row) -> bool:
    """Whether a column of the row says which answers are better."""
    return given(row, (*_RANKS, *_SCORES, *_BEST)) is not None


def badness_of(row: Row, answers: list[Any]) -> tuple[list[float] | None, tuple[str, ...]]:
    """Smaller is better, one number per answer (None: nothing ranks them), and the columns they came from.

    Raises:
        RowRejected: bad_ranks: not one number per answer, or no answer that is the best; no_ranking: a column has a
            number for each answer, and nobody knows what it means.
    """
    for names, inside, sign in ((_RANKS, _RANKS, 1.0), (_SCORES, _SCORES_INSIDE, -1.0)):
        column = given(row, names)
        values = parsed(row[column], column) if column else [_inside(a, inside) for a in answers]
        if not isinstance(values, list):
            continue  # a score of the row, which ranks nothing
        if column is None and all(v is None for v in values):
            continue
        return [sign * n for n in _numbers(values, answers)], (column,) if column else ()
    column = given(row, _BEST)
    if column is not None:
        best = _place(row[column], answers)
        return [float(i != best) for i in range(len(answers))], (column,)
    _refuse_unknown(row, len(answers))
    return None, ()


def _numbers(values: list[Any], answers: list[Any]) -> list[float]:
    """One number per answer; of an order of answers, the best one first, the place of each."""
    if len(answers) > 1 and all(isinstance(v, str) for v in (*values, *answers)) and set(values) == set(answers):
        return [float(values.index(a)) for a in answers]
    numbers = [_number(v) for v in values]
    if len(numbers) != len(answers) or any(n is None for n in numbers):
        raise RowRejected("bad_ranks", "there must be one number per response")
    return [n for n in numbers if n is not None]


def _place(value: Any, answers: list[Any]) -> int:
    """Which answer is the best one: a place from 0, or the answer itself."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value in range(len(answers)):
        return int(value)
    if isinstance(value, str) and value in answers:
        return answers.index(value)
    raise RowRejected("bad_ranks", "what says which response is the best must be its place, from 0, or the response")


def _refuse_unknown(row: Row, count: int) -> None:
    """Refuse a row with a number or truth value for each of several answers."""
    for column, value in row.items():
        if isinstance(value, list) and len(value) == count > 1 and all(isinstance(v, (int, float)) for v in value):
            what = f"{fields({column: value})} has a number per response"
            hint = f"{what}: call it scores or ranks by `columns`, or name it in the source's `as_meta`"
            raise RowRejected("no_ranking", hint)


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
