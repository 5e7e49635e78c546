"""What a row says beside its text: whether the answer is wanted, what was thought, what isn't used."""

from typing import Any

from steps.contracts.records import Row
from steps.engines.formats.columns import COMPLETIONS, LISTS, PROMPTS, RESPONSES
from steps.engines.formats.dialects.content import MEDIA_COLUMNS
from steps.engines.formats.rejected import RowRejected

LABELS = ("label", "kto_tag", "desirable")
REASONING = (
    "reasoning_content",
    "reasoning",
    "thinking",
    "thought",
    "thoughts",
    "cot",
    "chain_of_thought",
    "complex_cot",
)
# Columns beside the text of a conversation that change what is read of it; most rows have none.
MARKS = frozenset({*LABELS, *REASONING, *MEDIA_COLUMNS})
_WANTED = {"true", "1", "1.0", "yes", "desirable", "good", "thumbs_up"}
_UNWANTED = {"false", "0", "0.0", "no", "undesirable", "bad", "thumbs_down"}
# Columns that change what a row says or how much it is worth. Where no format uses one, a note says that it is in meta.
TELLING = frozenset(
    {
        *LABELS, *REASONING, *MEDIA_COLUMNS, *(set(PROMPTS + COMPLETIONS) - {"input", "source", "target"}),
        "weight", "score", "scores", "rating", "ratings", "reward", "rank", "ranks", "ranking", "rankings", "margin",
        "chosen", "rejected", "responses", "completions", "answers", "outputs", "choices", "options", "history",
        "labels", "helpfulness", "thumbs_up", "thumbs_down", "feedback", "liked", "is_correct", "is_good",
        "correctness",
        "answer_idx", "answer_index", "answerKey", "correct_answer",
        "system", "instruction", "tools", "functions", "rationale", "explanation", "summary", "passage", "documents",
    }
)  # fmt: skip
# Columns with what is said in a row: one that isn't used says that the row was meant to be read in another way.
SPEAKING = frozenset({
    *(set(PROMPTS + COMPLETIONS) - {"input", "context", "source", "target"}), *LISTS, *RESPONSES, "chosen", "rejected",
    "history", "system", "instruction", "tools", "functions",
})  # fmt: skip


def label_of(row: Row) -> tuple[bool | None, tuple[str, ...]]:
    """Whether the row's answer is wanted, and the column that says so; a category in words says nothing.

    Raises:
        RowRejected: bad_label: a number that is neither 0 nor 1.
    """
    for column in LABELS:
        value = row.get(column)
        if value is None:
            continue
        text = str(value).strip().lower()
        if isinstance(value, (bool, int, float, str)) and text in _WANTED | _UNWANTED:
            return text in _WANTED, (column,)
        if isinstance(value, (int, float)):
            hint = f"`{column}` says whether the answer is wanted, and must be true or false (1 or 0)"
            raise RowRejected("bad_label", f"{hint}; if it means something else, name it in the source's `as_meta`")
    return None, ()


def reasoning_of(row: Row) -> tuple[str | None, tuple[str, ...]]:
    """What was thought before the answer, and the column that says so."""
    for column in REASONING:
        value = row.get(column)
        if isinstance(value, str) and value.strip():
            return value, (column,)
    return None, ()


def telling(meta: Row) -> list[str]:
    """A note for each column among these that changes what a row says, yet is in meta."""
    return [f"column `{k}` isn't used: it is kept in meta" for k, v in meta.items() if k in TELLING and says(v)]


def says(value: Any) -> bool:
    """Whether a column holds more than nothing."""
    return value is not None and value not in ("", [], {})
