"""What can be evaluated: a name, a digest, and what it can do. Each kind of subject is one module beside this one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from steps.contracts.records import Row

# Nats and counted tokens of one row; None where the row has no token to score.
Loss: TypeAlias = tuple[float, int] | None


@dataclass(frozen=True)
class Prompt:
    """A row as its subject is asked it: the text that it gets, and what should be said ("" where nothing should).

    `turn`: all that the subject would write for it, with its reasoning; "": the reference.
    """

    text: str
    reference: str
    turn: str = ""


@dataclass(frozen=True)
class Tokens:
    """What answers are made of. `cost`: by an endpoint's prices; `at_hand`: replies that took no time: paid for before,
    or not among those that were timed. `seconds`, `cpu_seconds`: of the others; None: as long as it took.
    """

    prompts: int
    answers: int
    cost: float | None = None
    at_hand: int = 0
    seconds: float | None = field(default=None, compare=False)
    cpu_seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Replies:
    """One final text per prompt, None where it could not be asked; `max_new_tokens` is the room that each answer had.

    `reasoning`: what was thought before it, None where nothing was; (): the subject tells none. `cut`: how many were
    still going on when their room was full. `tokens`: of all that were asked; None: nobody counted.
    """

    texts: list[str | None]
    max_new_tokens: int
    notes: tuple[str, ...] = ()
    reasoning: Sequence[str | None] = ()
    cut: int = 0
    tokens: Tokens | None = None


@dataclass(frozen=True)
class Asked:
    """One prompt per row, None where it asks nothing or can't be put to the subject, which a note counts.

    `scores`: per row what can be said of its prompt alone; (): nothing.
    """

    prompts: list[Prompt | None]
    notes: tuple[str, ...] = ()
    scores: Sequence[Mapping[str, float]] = ()


@dataclass(frozen=True)
class Losses:
    """One loss per row, in the order of the rows."""

    rows: list[Loss]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preferences:
    """Per row 1 where the chosen answer is preferred, 0 where the rejected one is, 0.5 where neither; None: no pair."""

    rows: list[float | None]
    notes: tuple[str, ...] = ()


class Subject(Protocol):
    """Whatever is evaluated. It is an `Answering`, a `Predicting` or a `Preferring` one as well, or several of them; a
    `Continuing` one answers too."""

    @property
    def name(self) -> str:
        """Its name in reports, steps and artifacts."""
        ...

    @property
    def digest(self) -> str:
        """Digest of everything that it is made of."""
        ...

    @property
    def decoding(self) -> Mapping[str, Any]:
        """JSON values of every setting of its own that decides over an answer or a loss."""
        ...


@runtime_checkable
class Prompted(Subject, Protocol):
    """A subject of which it is known how rows are put to it."""

    def prompts(self, rows: Sequence[Row]) -> Asked:
        """How it would be asked each row; a document asks nothing."""
        ...


@runtime_checkable
class Answering(Prompted, Protocol):
    """A subject that answers in text."""

    def answer(self, prompts: Sequence[Prompt], max_new_tokens: int | None) -> Replies:
        """What it says; None leaves the room for an answer to the subject, by what the references need."""
        ...


@runtime_checkable
class Continuing(Answering, Protocol):
    """A subject that goes on with a text."""

    def beginnings(self, rows: Sequence[Row], tokens: int) -> list[Prompt | None]:
        """The beginning of each document, at most so many tokens, and as many of how it goes on; None for rows of other
        kinds and for documents too short for that."""
        ...


@runtime_checkable
class Predicting(Subject, Protocol):
    """A subject that knows the probability of text."""

    def losses(self, rows: Sequence[Row]) -> Losses:
        """What each row's trained text (a document: all of it) costs it."""
        ...


@runtime_checkable
class Preferring(Subject, Protocol):
    """A subject that says which of two answers is better."""

    def preferences(self, rows: Sequence[Row]) -> Preferences:
        """Of each row that is a pair."""
        ...
