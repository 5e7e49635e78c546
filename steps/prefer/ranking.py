"""Several answers to one prompt, each with a score from 0 to 1: by a judge in both orders, or by a grader."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Protocol

from steps.contracts.records import Row, message
from steps.engines.graders.extractors import EXTRACTORS
from steps.engines.graders.graders import GRADERS, Grading
from steps.engines.graders.values import NOTHING
from steps.engines.llm.asker import FIRST, Asker
from steps.engines.prompted.prompted import Prompted
from steps.engines.rubric.pairs import Compared, Pair, compare, pair_digest
from steps.engines.rubric.reading import read_rubric
from steps.prefer.config import PairGrader, PairJudge

# Whose answer it is: the row's own, or a sample's place from 0.
OWN = -1


@dataclass
class Answers:
    """Answers to one prompt.

    Attributes:
        texts: distinct ones; who: OWN or the number of the first sample that says it.
        scores: of each, 0 to 1; () until they are ranked, or where they can't be.
        why_not: reason code why there is no pair; "": there may be.
    """

    prompt: Prompted
    texts: list[str] = field(default_factory=list)
    who: list[int] = field(default_factory=list)
    reasoning: list[str | None] = field(default_factory=list)
    scores: tuple[float, ...] = ()
    why_not: str = ""

    def add(self, text: str, who: int, reasoning: str | None = None) -> None:
        """Add an answer, unless one says the same."""
        if text not in self.texts:
            self.texts.append(text)
            self.who.append(who)
            self.reasoning.append(reasoning)

    def message(self, place: int) -> Row:
        """An answer as a turn."""
        return message("assistant", self.texts[place], reasoning=self.reasoning[place])


class Ranking(Protocol):
    """Gives answers their scores."""

    @property
    def said(self) -> dict[str, str]:
        """Who ranks, for `meta`."""

    def rank(self, answers: Sequence[Answers]) -> None:
        """Fill in scores, or why there are none."""


class ByJudge:
    """Every two answers are compared in both orders. A score is an answer's wins / comparisons, a tie half a win.

    `compared`: what came of every two.
    """

    def __init__(self, judge: PairJudge, asker: Asker, place: Callable[[str], Path]) -> None:
        self._judge, self._asker = judge, asker
        self._rubric = read_rubric(judge.rubric, place)
        self._rubric.require(judge.instructions, compares=True, where="prefer.judge.rubric")
        self.compared: list[Compared] = []

    @property
    def said(self) -> dict[str, str]:
        """Model and digest of the prompt."""
        digest = pair_digest(self._rubric, self._judge.instructions)
        return {"judge": self._asker.endpoint.model, "judge_prompt_digest": digest}

    def rank(self, answers: Sequence[Answers]) -> None:
        """One verdict that can't be read leaves the prompt without scores: which answer is best isn't known then."""
        duels = [(one, a, b) for one in answers for a, b in combinations(range(len(one.texts)), 2)]
        if not duels:
            return
        pairs = [Pair(tuple(one.prompt.turns), (one.message(a),), (one.message(b),)) for one, a, b in duels]
        self.compared = [c for part in (pairs[: FIRST // 2], pairs[FIRST // 2 :]) for c in self._compared(part)]
        wins: dict[int, list[float]] = {id(one): [0.0] * len(one.texts) for one in answers}
        for (one, a, b), result in zip(duels, self.compared, strict=True):
            if result.winner is None:
                one.why_not = f"unjudged:{result.error}"
                continue
            win = {"first": 1.0, "second": 0.0, "tie": 0.5}[result.winner]
            wins[id(one)][a] += win
            wins[id(one)][b] += 1.0 - win
        for one in answers:
            if not one.why_not:
                one.scores = tuple(w / (len(one.texts) - 1) for w in wins[id(one)])

    def _compared(self, pairs: Sequence[Pair]) -> list[Compared]:
        found = compare(self._asker.session, pairs, self._rubric, self._judge.instructions)
        requests = self._asker.requests
        for said in (said for result in found for said in result.said):
            requests.add("comparisons", "" if said in ("A", "B", "tie") else said)
        requests.refuse_useless("comparisons")
        return found


class ByGrader:
    """Each answer against the row's own, by fixed rules."""

    def __init__(self, grader: PairGrader) -> None:
        self._grader = grader
        extract = EXTRACTORS[grader.extract](grader.pattern)
        self._by = Grading(extract, grader.ignore_case, lambda v: v is not NOTHING, (), tolerance=grader.tolerance)

    @property
    def said(self) -> dict[str, str]:
        """Its name."""
        return {"grader": self._grader.name}

    def rank(self, answers: Sequence[Answers]) -> None:
        """A row whose answer the grader can't use has no scores."""
        grade = GRADERS[self._grader.name].grade
        for one in answers:
            scores = [grade(text, one.prompt.answer, self._by) for text in one.texts]
            known = [s for s in scores if s is not None]
            if len(known) < len(scores):
                one.why_not = "not_gradable"
            else:
                one.scores = tuple(known)
