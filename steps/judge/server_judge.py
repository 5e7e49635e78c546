"""The backend that asks a served model how probable each rating is: a request of one token for each criterion."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from steps.contracts.digests import value_digest
from steps.contracts.reports import Table
from steps.engines.llm.caller import Failure
from steps.engines.llm.session import Answer, Question
from steps.engines.rubric.asking import RATINGS, asking_digest, empty_row, orders, question, row_text
from steps.engines.rubric.case import Case
from steps.engines.rubric.rubric import RatedKind, rated_as
from steps.judge.asked_judge import AskedJudge
from steps.judge.ratings import Rating, prior_table, undecided
from steps.judge.verdict import JudgeVerdict, rated_verdict, unasked

# The most that OpenAI's interface gives.
_TOP = 20
# White space, as it stands before a word in tokens.
_BLANK = " \t\n▁Ġ"


# Ratings by criterion with what they cost, or the verdict that there are none.
_Read: TypeAlias = tuple[dict[str, Rating], dict[str, Any]] | JudgeVerdict


class ServerRatings(AskedJudge):
    """Asks about each criterion by itself."""

    rated = True
    _a_reply_a_row = False

    def _prepare(self) -> None:
        self._told = {kind: asking_digest(self.rubric, kind, self.config.instructions) for kind in self.rubric.rows}
        self._priors: dict[RatedKind, dict[str, Rating] | None] = {}

    @property
    def digest(self) -> str:
        """Digest of the prompts, the model's name, the decoding settings and what follows from a rating."""
        how = [self.config.min_rating_mass, self.config.empty_row_prior]
        return value_digest([*self._told.values(), self.endpoint.model, self.endpoint.decoding(), "logprobs", *how])

    def works(self) -> str | None:
        """Why the server and its model can't be asked so, as an empty row shows; None: they can.

        Raises:
            ServiceError: the endpoint as a whole doesn't work.
        """
        kind = next(iter(self.rubric.rows))
        (found,) = self._ratings(kind, [empty_row(kind)])
        if isinstance(found, JudgeVerdict):
            return f"{found.error} ({found.error_detail})"
        why = undecided(found[0], self.config.min_rating_mass)
        return None if why is None else why[1]

    def _begin(self, cases: Sequence[Case], occasion: str = "") -> Callable[[], list[JudgeVerdict]]:
        begun = []
        for kind in self.rubric.rows:
            places = [i for i, case in enumerate(cases) if self._asks(case) and rated_as(case.kind) == kind]
            if places:
                prior = self._prior(kind)
                without = prior if self.config.empty_row_prior == "taken_out" else None
                begun.append((places, without, self._begun(kind, [row_text(cases[i]) for i in places], occasion)))

        def verdicts() -> list[JudgeVerdict]:
            found: dict[int, JudgeVerdict] = {}
            for places, prior, wait in begun:
                found |= {i: self._verdict(one, prior) for i, one in zip(places, wait(), strict=True)}
            self._progress.advance(len(cases))
            return [found.get(i) or unasked(self.rubric, case, self.digest) for i, case in enumerate(cases)]

        return verdicts

    def _asks(self, case: Case) -> bool:
        return case.has_answer and bool(self.rubric.criteria_of(case.kind))

    def _verdict(self, found: _Read, prior: dict[str, Rating] | None) -> JudgeVerdict:
        if isinstance(found, JudgeVerdict):
            return found
        ratings, said = found
        return rated_verdict(ratings, self.config.min_rating_mass, prior, **said)

    def _prior(self, kind: RatedKind) -> dict[str, Rating] | None:
        if kind not in self._priors:
            (found,) = self._ratings(kind, [empty_row(kind)])
            self._priors[kind] = None if isinstance(found, JudgeVerdict) else found[0]
        return self._priors[kind]

    def _ratings(self, kind: RatedKind, texts: Sequence[str]) -> list[_Read]:
        """Of each text the ratings by criterion with what they cost, or the verdict that there are none."""
        return self._begun(kind, texts)()

    def _begun(self, kind: RatedKind, texts: Sequence[str], occasion: str = "") -> Callable[[], list[_Read]]:
        criteria = self.rubric.criteria_of(kind)
        wait = self._session.begin([self._question(kind, text, c, occasion) for text in texts for c in criteria])
        each = len(criteria)

        def ratings() -> list[_Read]:
            answers = wait()
            return [self._read(kind, answers[i * each : (i + 1) * each]) for i in range(len(texts))]

        return ratings

    def _question(self, kind: RatedKind, text: str, criterion: str, occasion: str = "") -> Question:
        asks = text + question(criterion)
        key = value_digest([asks, self._told[kind], self.endpoint.model, self.endpoint.decoding(), "logprobs"])
        key = value_digest([key, occasion]) if occasion else key
        messages = [
            {"role": "system", "content": orders(self.rubric, kind, self.config.instructions)},
            {"role": "user", "content": asks},
        ]
        return Question(key, messages, {}, "rating", top=_TOP)

    def _read(self, kind: RatedKind, answers: Sequence[Answer]) -> _Read:
        said: dict[str, Any] = {"backend": "llm", "prompt_digest": self._told[kind], "model": self.endpoint.model}
        replies = [a.reply for a in answers]
        said["raw_reply"] = json.dumps([None if isinstance(r, Failure) else r.text for r in replies])
        ratings: dict[str, Rating] = {}
        for criterion, reply in zip(self.rubric.criteria_of(kind), replies, strict=True):
            if isinstance(reply, Failure):
                return JudgeVerdict(**said, error=reply.reason, error_detail=f"{criterion}: {reply.detail}")
            if not reply.text:
                detail = f"{criterion}: the server says no logprobs; scoring: generation needs none"
                return JudgeVerdict(**said, error="no_logprobs", error_detail=detail)
            ratings[criterion] = rating_in(reply.text)
        counted = [r for r in replies if not isinstance(r, Failure) and r.prompt_tokens is not None]
        return ratings, {
            **said,
            "prompt_tokens": sum(r.prompt_tokens or 0 for r in counted) if counted else None,
            "completion_tokens": sum(r.completion_tokens or 0 for r in counted) if counted else None,
            "cached": all(a.cached for a in answers),
        }

    def known(self, cases: Sequence[Case]) -> list[bool]:
        """Of each case, whether all that the model said of it is at hand."""
        keys = [
            [self._question(rated_as(c.kind), row_text(c), n).key for n in self.rubric.criteria_of(c.kind)]
            if self._asks(c)
            else []
            for c in cases
        ]
        there = self._session.known([key for of_case in keys for key in of_case])
        return [all(key in there for key in of_case) for of_case in keys]

    def share_of(self, case: Case, shares: int) -> int:
        """Which of so many shares asks about it: equal rows are in one, so that none is asked about twice."""
        return int(value_digest(row_text(case))[:16], 16) % shares

    def tables(self) -> tuple[Table, ...]:
        """Tokens and cost, and what the model makes of a row that says nothing, where that was asked."""
        return (*prior_table(self._priors), *super().tables())

    def notes(self) -> tuple[str, ...]:
        """Which model judged, and how."""
        by = f"rubric {self.rubric.name} {self.rubric.version}"
        said = f"Judged by {self.endpoint.model!r} with {by}, by the probabilities of its ratings (top_logprobs)."
        return (said, *self._session.spending.notes())


def rating_in(text: str) -> Rating:
    """The rating in the most probable first tokens: blanks around a number are nothing; what isn't among them counts
    nothing, so that the mass is at least this.
    """
    found = dict.fromkeys(RATINGS, 0.0)
    for token, logprob in json.loads(text):
        word = token.strip(_BLANK)
        if word in found and isinstance(logprob, int | float):
            found[word] += math.exp(min(logprob, 0.0))
    return Rating(tuple(found.values()))
