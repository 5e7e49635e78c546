"""A rubric asked criterion by criterion, each answered by one token: a rating.

Each criterion is a question of its own behind the same row, so that no rating leans on another one (of ratings that
are said one after the other, the first colours the rest), and all of them stand on the keys and values of one pass over
the row. What is the same for every row stands before it.
"""

from collections.abc import Sequence

from steps.contracts.digests import value_digest
from steps.engines.llm.framing import framed as in_frame
from steps.engines.rubric.case import Case, Criterion
from steps.engines.rubric.frame import content_of
from steps.engines.rubric.prompt import in_particular, told
from steps.engines.rubric.rubric import HIGHEST, LOWEST, Rubric, rated_as

RATINGS = tuple(str(point) for point in range(LOWEST, HIGHEST + 1))
_REPLY = """
You are asked about one criterion at a time. Reply with one whole number from 1 to 5 and nothing else."""
# The criterion stands last: what comes before it is read once for all questions.
_QUESTION = "With one whole number from 1 to 5, rate its {criterion}."
# A row that says nothing: what a judge makes of it is its liking for numbers.
_NOTHING = "N/A"
# Chosen: so many texts whose markers begin and end with every digit and letter show where what is shared ends.
_PROBES = 48


def orders(rubric: Rubric, kind: str, instructions: str) -> str:
    """What the system says to rows of a kind."""
    return told(rubric, kind) + _REPLY + in_particular(instructions)


def question(criterion: Criterion) -> str:
    """What is asked behind a row."""
    return _QUESTION.format(criterion=criterion.replace("_", " "))


def row_text(case: Case) -> str:
    """The row in its frame, with a line break behind it, where a question follows."""
    return in_frame(content_of(case), "row")


def empty_row(kind: str) -> str:
    """A row of a kind that says nothing."""
    return row_text(empty_case(kind))


def probe_rows(kind: str) -> list[str]:
    """Rows of a kind that have nothing in common but the frame."""
    return [row_text(empty_case(kind, f"{n} {_NOTHING} {n}")) for n in range(_PROBES)]


def empty_case(kind: str, text: str = _NOTHING) -> Case:
    """A row of a kind in which this stands for whatever is said."""
    if rated_as(kind) == "document":
        return Case("", "", None, "document", (), None, text)
    turns = ({"role": "user", "content": text}, {"role": "assistant", "content": text})
    return Case("", "", None, "conversation", turns, None, None)


def asking_digest(rubric: Rubric, kind: str, instructions: str) -> str:
    """Digest of everything that the judge is told beside the row."""
    criteria: Sequence[Criterion] = rubric.criteria_of(kind)
    return value_digest([orders(rubric, kind, instructions), [question(c) for c in criteria], empty_row(kind)])
