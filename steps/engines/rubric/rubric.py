"""Rubrics: what rows are rated by, as versioned files.

A rubric says for which kinds of row it holds, what each of its criteria means for each of them, and in words what the
five points of its scale are. `read_rubric` (reading.py) gives one of assay's own by its name (`KNOWN`), or one by its
path. What a model is told of it is in `prompt.py`, the frame around a row in `frame.py`, two answers side by side in
`pairs.py`. To build on it:

    rubric = read_rubric("groundedness", place)          # place: where a file lies that a config names
    criteria = rubric.criteria_of("conversation")
    orders = system_prompt(rubric, "conversation", "")   # the same for every row: its keys and values can be shared
    row = framed(case)                                   # a row, which can't leave its place
    parse_reply(reply, case, criteria)                   # RubricScores, or the reason why there are none
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from steps.contracts.errors import ConfigError
from steps.contracts.reports import Frozen
from steps.engines.rubric.case import Criterion
from steps.engines.yaml_lines.parse import KeyPath

# What a rubric tells apart: conversations (all rows with answers), documents, and two answers to one request.
RatedKind: TypeAlias = Literal["conversation", "document", "pair"]
# Files beside this module.
KNOWN = ("quality", "domain_relevance", "safety", "groundedness", "preference")
QUALITY = "quality"
# Thresholds, and scores of several rubrics side by side, mean the same only on one scale.
LOWEST, HIGHEST = 1, 5
# Columns that a verdict has besides its criteria, and words that a reply may wrap them in.
_TAKEN = frozenset(
    "record_id content_id split backend outcome share reasons error error_detail model prompt_digest raw_reply"  # noqa: SIM905
    " prompt_tokens completion_tokens seconds cached probabilities scores score ratings rating verdict evaluation"
    " result results criteria judgement judgment assessment reason better answers judges".split()
)
_NAME = r"^[a-z][a-z0-9_]{0,39}$"

Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=2000)]


class Rubric(Frozen):
    """What rows are rated by. A file of YAML with these keys."""

    name: str = Field(pattern=_NAME, description="what reports call it")
    version: int = Field(ge=1, description="raised when scores change meaning")
    rows: dict[RatedKind, Text] = Field(
        min_length=1, description="by kind of row: what the row is, and what of it is rated; pair stands alone"
    )
    scale: tuple[Text, Text, Text, Text, Text] | None = Field(
        None, description="what 1, 2, 3, 4 and 5 mean, in words; none for pairs"
    )
    criteria: dict[Annotated[str, Field(pattern=_NAME)], dict[RatedKind, Text]] = Field(
        min_length=1, max_length=12, description="by name, and by kind of row: what is asked of the row"
    )
    needs_instructions: str = Field(
        "", max_length=300, description="what `instructions` must say for this rubric to mean anything"
    )

    @property
    def compares(self) -> bool:
        """Whether it is for two answers side by side."""
        return "pair" in self.rows

    @property
    def all_criteria(self) -> tuple[Criterion, ...]:
        """Criteria of any kind of row, in order."""
        return tuple(self.criteria)

    def criteria_of(self, kind: str) -> tuple[Criterion, ...]:
        """The criteria that a kind of row is rated by, in order; none: the rubric doesn't hold for it."""
        rated = rated_as(kind)
        return tuple(c for c, meanings in self.criteria.items() if rated in meanings) if rated in self.rows else ()

    def require(self, instructions: str, *, compares: bool, where: str) -> None:
        """Refuse a rubric that can't do what it is named for.

        Raises:
            ConfigError: it is of the other sort (for single rows or pairs), or lacks the instructions that it needs.
        """
        if self.compares != compares:
            sorts = ("rates single rows", "compares two answers")
            raise ConfigError(
                f"rubric {self.name} {sorts[self.compares]}, and here one is wanted that {sorts[compares]}",
                where=where, hint="name another one: quality rates rows, preference compares answers",
            )  # fmt: skip
        if self.needs_instructions and not instructions.strip():
            raise ConfigError(
                f"rubric {self.name} needs instructions: {self.needs_instructions}", where=where,
                hint="say it in `instructions` beside `rubric`",
            )  # fmt: skip


def rated_as(kind: str) -> RatedKind:
    """What a kind of row is to a rubric."""
    return "document" if kind == "document" else "pair" if kind == "pair" else "conversation"


def contradictions(rubric: Rubric) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with a rubric whose parts are right: where, and what."""
    if rubric.compares and len(rubric.rows) > 1:
        yield ("rows", "pair"), "a rubric that compares two answers rates no single rows: make it a rubric of its own"
    if rubric.compares and rubric.scale is not None:
        yield ("scale",), "two answers are compared, not placed on a scale: leave it out"
    if not rubric.compares and rubric.scale is None:
        yield ("rows",), "scale is missing: five words or phrases for 1, 2, 3, 4 and 5"
    if rubric.scale is not None and len({re.sub(r"\s+", " ", s).casefold() for s in rubric.scale}) < HIGHEST:
        yield ("scale",), "two points of the scale mean the same"
    for criterion, meanings in rubric.criteria.items():
        if criterion in _TAKEN:
            yield ("criteria", criterion), f"{criterion} is the name of something else in a verdict"
        for kind in (k for k in meanings if k not in rubric.rows):
            yield ("criteria", criterion, kind), f"rows says nothing of {kind}"
        if not meanings:
            yield ("criteria", criterion), "no kind of row is rated by it"
    for kind in rubric.rows:
        if not any(kind in meanings for meanings in rubric.criteria.values()):
            yield ("rows", kind), f"no criterion has a meaning for {kind}"
