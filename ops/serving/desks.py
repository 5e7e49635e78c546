"""Several desks as one: a question goes to the one that has its model."""

from collections.abc import Callable, Mapping

from ops.serving.desk import Answers, Job, Question, Told


class Desks:
    """As `Desk`; `desks` by the names of their models."""

    def __init__(self, desks: Mapping[str, Answers]) -> None:
        self._desks = desks
        self._each = list({id(desk): desk for desk in desks.values()}.values())

    @property
    def alive(self) -> bool:
        """Whether every model answers."""
        return all(desk.alive for desk in self._each)

    @property
    def answering(self) -> int:
        """Questions that are answered now."""
        return sum(desk.answering for desk in self._each)

    @property
    def waiting(self) -> int:
        """Questions that nobody has begun to answer."""
        return sum(desk.waiting for desk in self._each)

    @property
    def answered(self) -> int:
        """How many were."""
        return sum(desk.answered for desk in self._each)

    def ask(self, question: Question, tell: Callable[[Told], None]) -> Job:
        """As the desk's."""
        return self._desks[question.model].ask(question, tell)
