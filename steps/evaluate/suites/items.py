"""The questions of a suite's task, from JSON Lines: one item per line, of the form that its kind wants."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from steps.contracts.digests import canonical_json, short_id
from steps.contracts.errors import InputError
from steps.contracts.evaluation import SuiteKind
from steps.contracts.records import ROLES, Row, make_row, message
from steps.contracts.reports import Frozen
from steps.engines.graders.leaks import Way, letters
from steps.engines.graders.values import parse_json
from steps.engines.retrieval.gold import META
from steps.evaluate.lines import objects
from steps.evaluate.suites.settings import SuiteTask

# What is written as the assistant's turn where anything may be answered; no grader sees it.
_ANYTHING = "…"
_REFUSAL = "I can't help with that."
# What stands in a question of kind bias where the two names are put.
NAME = "{name}"
# Chosen: fewer letters and digits than these may stand in an answer by chance.
_SECRET_LETTERS = 8


class Turn(Frozen):
    """One message before the answer."""

    role: str = Field(pattern=f"^({'|'.join(ROLES)})$")
    content: str


class Item(Frozen):
    """What items of every kind may have. `id`: stable; default: of the content. `question`, or `messages` before it.
    `note`: for people, as where the answer is from. `passages`: words of each passage that the question is answered by,
    and `document`, the name of the file: what a subject that looks things up should find.
    """

    id: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")
    source: str = Field("", max_length=80)
    language: str = Field("", max_length=40)
    question: str = ""
    messages: tuple[Turn, ...] = ()
    note: str = ""
    passages: tuple[Annotated[str, StringConstraints(pattern=r"\S")], ...] = Field((), max_length=20)
    document: str = Field("", max_length=400)

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if bool(self.question.strip()) == bool(self.messages):
            raise ValueError('either "question" or "messages", with something in it')
        if self.messages and self.messages[-1].role not in ("user", "tool"):
            raise ValueError('"messages" end with the user\'s question; the answer stands in a field of its own')
        return self

    @property
    def wanted(self) -> str | None:
        """What should be said; None: anything may be."""
        return None

    @property
    def turn(self) -> str:
        """The assistant's turn of the row, which decides how much room an answer has."""
        return self.wanted or _ANYTHING

    @property
    def asked(self) -> list[Row]:
        """The messages before the answer."""
        turns = self.messages or (Turn(role="user", content=self.question),)
        return [message(t.role, t.content) for t in turns]


class AnsweredItem(Item):
    """A question with its answer."""

    answer: str = Field(min_length=1)

    @property
    def wanted(self) -> str | None:
        """What should be said."""
        return self.answer


class StructuredItem(AnsweredItem):
    """The answer is a JSON object."""

    answer: str | dict[str, Any]  # type: ignore[assignment]

    @model_validator(mode="after")
    def _is_object(self) -> Self:
        if isinstance(self.answer, str) and not isinstance(parse_json(self.answer), dict):
            raise ValueError('"answer" is a JSON object, or the text of one')
        return self

    @property
    def wanted(self) -> str | None:
        """What should be said."""
        return self.answer if isinstance(self.answer, str) else canonical_json(self.answer)


class UnanswerableItem(Item):
    """A question that must be declined; `answer`: how."""

    answer: str = "I don't know."

    @property
    def wanted(self) -> str | None:
        """What should be said."""
        return self.answer


class RecallItem(AnsweredItem):
    """`facts`: what of the answer must be said; default: all of it. `forms`: other spellings of the only fact; `near`:
    what it is known to be taken for.
    """

    facts: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    near: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _of_one_fact(self) -> Self:
        if len(self.facts) > 1 and (self.forms or self.near):
            raise ValueError('"forms" and "near" are of one fact, and there are several')
        if not all(f.strip() for f in (*self.facts, *self.forms, *self.near)):
            raise ValueError("a fact has something in it")
        return self


class LabelItem(Item):
    """`label`: one of the task's."""

    label: str

    @property
    def wanted(self) -> str | None:
        """What should be said."""
        return self.label


class StyleItem(Item):
    """`answer`: an example of what fits, where there is one."""

    answer: str | None = None

    @property
    def wanted(self) -> str | None:
        """What should be said."""
        return self.answer


class SafetyItem(Item):
    """A request that must be refused (`harmful`), or mustn't."""

    harmful: bool

    @property
    def turn(self) -> str:
        """What stands in the row's assistant turn."""
        return _REFUSAL if self.harmful else _ANYTHING


class CanaryItem(Item):
    """A probe for what was planted in training text as `secret`, by the words around it or by others (`way`)."""

    canary: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")
    secret: str
    way: Way

    @model_validator(mode="after")
    def _secret(self) -> Self:
        if len(letters(self.secret)) < _SECRET_LETTERS:
            raise ValueError(f'"secret" has fewer than {_SECRET_LETTERS} letters and digits: chance would leak it')
        if any(letters(self.secret) in letters(m["content"]) for m in self.asked):
            raise ValueError("the question gives the secret away itself")
        return self

    @property
    def turn(self) -> str:
        """What stands in the row's assistant turn."""
        return self.secret


class BiasItem(Item):
    """One question asked twice, with each of two names in place of {name}; `answer`: what is right for both."""

    names: tuple[str, str]
    answer: str | None = None

    @model_validator(mode="after")
    def _two_names(self) -> Self:
        if len({n.casefold() for n in self.names}) < 2 or not all(n.strip() for n in self.names):
            raise ValueError('"names" are two different ones')
        if not any(NAME in m["content"] for m in self.asked):
            raise ValueError(f"the question needs {NAME}")
        return self

    @property
    def wanted(self) -> str | None:
        """What should be said."""
        return self.answer


class TextItem(Frozen):
    """A text whose loss is measured."""

    id: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")
    source: str = Field("", max_length=80)
    language: str = Field("", max_length=40)
    text: str = Field(min_length=1)


FORMS: dict[SuiteKind, type[Item] | type[TextItem]] = {
    "domain": AnsweredItem,
    "qa": AnsweredItem,
    "numeric": AnsweredItem,
    "structured": StructuredItem,
    "unanswerable": UnanswerableItem,
    "recall": RecallItem,
    "classification": LabelItem,
    "style": StyleItem,
    "safety": SafetyItem,
    "canary": CanaryItem,
    "bias": BiasItem,
    "perplexity": TextItem,
}


@dataclass(frozen=True)
class Asked:
    """One question of a task. `member`: of a pair (bias) the first (0) or second (1) one."""

    row_id: str
    item: Item | TextItem
    row: Row
    language: str
    member: int = 0

    @property
    def free(self) -> bool:
        """Whether anything may be answered, so that nothing says how long that is."""
        return isinstance(self.item, Item) and self.item.turn == _ANYTHING


def read_items(path: Path, task: SuiteTask, language: str) -> list[Asked]:
    """All questions of a file, by id. `language`: where an item says none.

    Raises:
        InputError: a line isn't an item of this kind, one stands there twice, or there are none.
    """
    found: dict[str, Asked] = {}
    lines: dict[str, int] = {}
    for number, value in objects(path):
        where = f"{path}, line {number}"
        item = _item(value, task, where)
        row_id = item.id or short_id(canonical_json({k: v for k, v in value.items() if k != "id"}))
        if row_id in lines:
            raise InputError(f"the same item as in line {lines[row_id]}", where=where, hint="an id names one item")
        lines[row_id] = number
        found |= {one.row_id: one for one in _asked(row_id, item, item.language or language)}
    if not found:
        raise InputError("a file of a suite without items", where=str(path))
    return [found[row_id] for row_id in sorted(found)]


def _item(value: dict[str, Any], task: SuiteTask, where: str) -> Item | TextItem:
    try:
        item = FORMS[task.kind].model_validate(value)
    except ValidationError as e:
        told = [(".".join(map(str, x["loc"])), x["msg"].removeprefix("Value error, ")) for x in e.errors()]
        what = "; ".join(f"{place}: {why}" if place else why for place, why in told)
        raise InputError(f"not an item of kind {task.kind}: {what}", where=where) from e
    if isinstance(item, LabelItem) and item.label not in task.labels:
        hint = f"the task's labels are {', '.join(task.labels)}"
        raise InputError(f"no label {item.label!r:.80}", where=where, hint=hint)
    return item


def _asked(row_id: str, item: Item | TextItem, language: str) -> Iterator[Asked]:
    if isinstance(item, TextItem):
        yield Asked(row_id, item, _row(row_id, text=item.text, kind="document"), language)
    elif isinstance(item, BiasItem):
        for member, name in enumerate(item.names):
            turns = [{**m, "content": m["content"].replace(NAME, name)} for m in item.asked]
            yield Asked(f"{row_id}:{member}", item, _conversation(f"{row_id}:{member}", turns, item), language, member)
    else:
        yield Asked(row_id, item, _conversation(row_id, item.asked, item), language)


def _conversation(row_id: str, turns: list[Row], item: Item) -> Row:
    gold = {"passages": item.passages, "document": item.document}
    meta = {META: gold} if any(gold.values()) else None
    return _row(row_id, messages=[*turns, message("assistant", item.turn)], kind="conversation", meta=meta)


def _row(row_id: str, **content: Any) -> Row:
    return {**make_row(source="suite", locator="", raw=b"", **content), "record_id": row_id}
