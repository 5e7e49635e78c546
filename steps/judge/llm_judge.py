"""The backend that asks a language model: the rubric as its orders, the row as its message."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steps.contracts.digests import value_digest
from steps.engines.llm.caller import Failure
from steps.engines.llm.client import Reply
from steps.engines.llm.session import Answer, Question
from steps.engines.rubric.case import Case
from steps.engines.rubric.frame import framed
from steps.engines.rubric.parse import RubricScores, parse_reply
from steps.engines.rubric.prompt import prompt_digest, system_prompt, verdict_schema
from steps.engines.rubric.rubric import RatedKind, rated_as
from steps.judge.asked_judge import AskedJudge
from steps.judge.verdict import JudgeVerdict, unasked

# Faults of form, which another try may not have.
_UNREADABLE = frozenset(
    {"not_json", "empty_reply", "truncated", "missing_score", "bad_score", "score_out_of_range", "ambiguous_reply"}
)
# Hex digits of a digest that are a number evenly spread over any number of shares that there may be.
_SPREAD = 16


@dataclass(frozen=True)
class _Prompt:
    """What rows of a kind are asked with: its digest, the orders, the form of a reply."""

    digest: str
    orders: str
    schema: dict[str, Any]


class LlmJudge(AskedJudge):
    """Asks for a verdict in words.

    A reply's key is the digest of the framed row, the prompt digest, the model's name and the decoding settings.
    The address isn't part of it, so that a server may move; give two models of one name two cache folders.
    """

    rated = False
    _a_reply_a_row = True

    # Why the probabilities of ratings, which were tried first, say nothing; "": they weren't tried.
    why_generated = ""

    def _prepare(self) -> None:
        self._prompts: dict[RatedKind, _Prompt] = {}

    @property
    def digest(self) -> str:
        """Digest of the prompts, the model's name and the decoding settings; longer rows than max_chars aren't kept."""
        prompts = [self._prompt(kind).digest for kind in self.rubric.rows]
        return value_digest([*prompts, self.endpoint.model, self.endpoint.decoding()])

    def _begin(self, cases: Sequence[Case], occasion: str = "") -> Callable[[], list[JudgeVerdict]]:
        asked = [case for case in cases if self._asks(case)]
        questions = [self._question(case, occasion) for case in asked]
        by_key = dict(zip((q.key for q in questions), asked, strict=True))
        self._progress.advance(len(cases) - len(asked))
        wait = self._session.begin(questions, lambda question, reply: self._useful(by_key, question, reply))

        def verdicts() -> list[JudgeVerdict]:
            said = wait()
            for attempt in range(1, self.config.retry_unreadable + 1):
                said = self._without_faults(asked, said, attempt, occasion)
            answers = iter(said)
            return [
                self._verdict(case, next(answers)) if self._asks(case) else unasked(self.rubric, case, self.digest)
                for case in cases
            ]

        return verdicts

    def known(self, cases: Sequence[Case]) -> list[bool]:
        """Of each case, whether the model's words on it are at hand."""
        keys = [self._question(case).key if self._asks(case) else None for case in cases]
        there = self._session.known([key for key in keys if key is not None])
        return [key is None or key in there for key in keys]

    def share_of(self, case: Case, shares: int) -> int:
        """Which of so many shares asks about it: of equal questions all are in one, so that none is sent twice."""
        return int(self._question(case).key[:_SPREAD], 16) % shares

    def _without_faults(
        self, asked: Sequence[Case], said: Sequence[Answer], attempt: int, occasion: str
    ) -> list[Answer]:
        """The answers, those without a readable verdict in place of them asked for once more, with a word on why."""
        faults = {i: self._fault(case, answer) for i, (case, answer) in enumerate(zip(asked, said, strict=True))}
        again = {i: fault for i, fault in faults.items() if fault in _UNREADABLE}
        answers = self._session.answers(
            [self._once_more(asked[i], fault, attempt, occasion) for i, fault in again.items()]
        )
        new = dict(zip(again, answers, strict=True))
        return [new.get(i, answer) for i, answer in enumerate(said)]

    def _fault(self, case: Case, answer: Answer) -> str:
        """Why a reply can't be read; "": it can, or there is none."""
        if isinstance(answer.reply, Failure):
            return ""
        parsed = self._parsed(answer.reply, case)
        return parsed if isinstance(parsed, str) else ""

    def _once_more(self, case: Case, fault: str, attempt: int, occasion: str) -> Question:
        """Behind the same beginning, so that servers can reuse it. The reply's words aren't repeated: they may be the
        row's.
        """
        first = self._question(case, occasion)
        told = f"{first.messages[1]['content']}\nAn earlier reply was of no use ({fault}). Reply with the JSON object."
        messages = [first.messages[0], {"role": "user", "content": told}]
        return Question(value_digest([first.key, fault, attempt]), messages, first.schema, first.name)

    def _asks(self, case: Case) -> bool:
        return case.has_answer and bool(self.rubric.criteria_of(case.kind))

    def _question(self, case: Case, occasion: str = "") -> Question:
        prompt, row = self._prompt(case.kind), framed(case)
        key = value_digest([row, prompt.digest, self.endpoint.model, self.endpoint.decoding()])
        key = value_digest([key, occasion]) if occasion else key
        messages = [{"role": "system", "content": prompt.orders}, {"role": "user", "content": row}]
        return Question(key, messages, prompt.schema, "verdict")

    def _prompt(self, kind: str) -> "_Prompt":
        rated = rated_as(kind)
        if rated not in self._prompts:
            told = self.config.instructions
            self._prompts[rated] = _Prompt(
                prompt_digest(self.rubric, kind, told),
                system_prompt(self.rubric, kind, told),
                verdict_schema(self.rubric.criteria_of(kind)),
            )
        return self._prompts[rated]

    def _useful(self, cases: Mapping[str, Case], question: Question, reply: Reply) -> bool:
        """Whether a cached reply is taken: one without a verdict may be asked for again."""
        return not (self.config.retry_undecided and isinstance(self._parsed(reply, cases[question.key]), str))

    def _parsed(self, reply: Reply, case: Case) -> RubricScores | str:
        return parse_reply(reply, case, self.rubric.criteria_of(case.kind))

    def _verdict(self, case: Case, answer: Answer) -> JudgeVerdict:
        digest, reply = self._prompt(case.kind).digest, answer.reply
        if isinstance(reply, Failure):
            return JudgeVerdict(
                "llm", digest, error=reply.reason, error_detail=reply.detail, model=self.endpoint.model,
                seconds=reply.seconds,
            )  # fmt: skip
        parsed = self._parsed(reply, case)
        decided = not isinstance(parsed, str)
        return JudgeVerdict(
            "llm", digest,
            scores=parsed.scores if not isinstance(parsed, str) else {},
            reasons=parsed.reasons if not isinstance(parsed, str) else {},
            error=None if decided else str(parsed),
            error_detail=None if decided else f"finish_reason {reply.finish_reason}",
            model=self.endpoint.model, raw_reply=reply.text,
            prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens,
            seconds=None if answer.cached else reply.seconds, cached=answer.cached,
        )  # fmt: skip

    def notes(self) -> tuple[str, ...]:
        """Which model judged, and how its replies were held to the form."""
        by = f"rubric {self.rubric.name} {self.rubric.version}"
        judged = f"Judged by {self.endpoint.model!r} with {by} and response format {self._session.mode}."
        why = (f"Its ratings' probabilities can't be had: {self.why_generated}.",) if self.why_generated else ()
        return (judged, *why, *self._session.spending.notes())
