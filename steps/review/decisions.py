"""The file of human decisions: JSON Lines, one decision a line, only ever added to.

A decision is on disk when `append` returns. What a crash left of a line that was being written is not a decision: it
is never read, and the next `append` removes it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, field_validator, model_validator

from steps.contracts.durable_lines import append_line
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.reports import Frozen

Choice: TypeAlias = Literal["accept", "edit", "drop"]


class Checked(Frozen):
    """How the row that a decision lets through was looked at before the decision was written.

    Attributes:
        search: names what personal data was looked for with (scrub's settings and key); "" when the run has no scrub.
        replaced: entity -> values that were replaced. spans: where they stood in what the person wrote, and by what
            pseudonym they are known, as in scrub's ledger: path, start, end, entity, pseudonym.
        unsearched: paths of texts on which a detector failed.
        screen: what screen's patterns and rules would do, such as "quarantine: slur"; "" when they say nothing.
        hits: screen's hits as in its ledger: rule, path, start, end, use or mention, severity.
    """

    search: str
    replaced: dict[str, int] = Field(default_factory=dict)
    spans: tuple[tuple[str | int, ...], ...] = ()
    unsearched: tuple[str, ...] = ()
    screen: str = ""
    hits: tuple[tuple[str | int, ...], ...] = ()


class HumanDecision(Frozen):
    """What a person decided about one row as they saw it.

    Attributes:
        content_before: content id of the row that was looked at; the decision holds for no other content.
        content_after: content id after the edit; None unless the choice is edit.
        content: the row's new content (edits.content_of); None unless the choice is edit.
        meta: the row's new `meta`, where something in it was replaced.
        stage, reason: who had set the row aside, and why.
        by, when, why: the person, ISO 8601 in UTC, and the person's own words ("" for none).
        checked: None where nobody looked at what the decision lets through.
    """

    record_id: str
    content_before: str
    choice: Choice
    content_after: str | None = None
    content: dict[str, Any] | None = None
    meta: str | None = None
    stage: str
    reason: str
    by: str = Field(min_length=1)
    when: str
    why: str = ""
    checked: Checked | None = None

    @field_validator("by", "why")
    @classmethod
    def _storable(cls, text: str) -> str:
        """Half of a surrogate pair, which no reader of JSON takes, becomes `?`."""
        return text.encode("utf-8", "replace").decode()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        edited = self.choice == "edit"
        if (self.content is not None) != edited or (self.content_after is not None) != edited:
            raise ValueError("an edit has content and content_after, another choice has neither")
        return self

    def holds_under(self, search: str) -> bool:
        """Whether what it lets through was searched for personal data as a run does whose `Checked.search` this is.

        A dropped row needs no search, and an accepted one had it before, unless scrub itself had set it aside.
        """
        if not search or self.choice == "drop" or (self.choice == "accept" and self.stage != "scrub"):
            return True
        return self.checked is not None and self.checked.search == search


def append(path: Path, decision: HumanDecision) -> None:
    """Add one decision; it is on disk when this returns.

    Raises:
        StorageError: the file can't be written.
    """
    append_line(path, decision.model_dump(mode="json", exclude_none=True))


def read(path: Path) -> list[HumanDecision]:
    """All decisions of a file in their order; an unfinished last line is left out.

    Raises:
        InputNotFoundError: no such file. IntegrityError: a whole line isn't a decision.
    """
    if not path.is_file():
        raise InputNotFoundError("no such file of decisions", where=str(path), hint="assay review writes one")
    *lines, _unfinished = path.read_bytes().split(b"\n")
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(HumanDecision.model_validate_json(line))
        except ValidationError as e:
            # The message of the error may hold the row's text: only its kind is said, and a field of ours.
            first = e.errors()[0]
            field = "".join(f"{name}: " for name in first["loc"][:1] if name in HumanDecision.model_fields)
            why = f"not a decision: {field}{first['type']}"
            raise IntegrityError(why, where=f"{path}:{number}", hint="mend or remove the line") from None
    return found


def latest(decisions: Iterable[HumanDecision]) -> dict[tuple[str, str], HumanDecision]:
    """The last decision about each row as it was seen: by (record id, content id)."""
    return {(d.record_id, d.content_before): d for d in decisions}
