"""Grades that a model gives: how near an answer's meaning is to the wanted one, and a judge's scores by the rubric."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from steps.contracts.digests import text_digest, value_digest
from steps.contracts.errors import ConfigError, ServiceError
from steps.contracts.records import message
from steps.engines.llm.egress import refuse_egress
from steps.engines.rubric.case import CRITERIA, Case
from steps.engines.rubric.frame import framed
from steps.engines.rubric.prompt import system_prompt, verdict_schema
from steps.engines.rubric.reading import read_rubric
from steps.engines.rubric.rubric import QUALITY
from steps.engines.scoring.answers import Answered
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.suites.items import Item
from steps.evaluate.suites.settings import JUDGED, SIMILARITY
from steps.evaluate.suites.tasks import Part, asked_models, missing_graders

# What asks models is imported where a task wants it.
if TYPE_CHECKING:
    from steps.engines.embed.embedder import Embedder
    from steps.engines.llm.session import ChatSession

# Sent with every question, so that two prompts that differ in them have replies of their own.
_LOWEST, _HIGHEST = 1, 5
_BESIDE = (
    "Where the row has a `right_answer`, it is no part of the conversation: hold what the assistant says against it."
)


@dataclass(frozen=True)
class GradingModels:
    """What is asked for grades; None where no task wants it."""

    embedder: "Embedder | None" = None
    judge: "ChatSession | None" = None

    def graded(self, part: Part, rows: Sequence[Answered]) -> tuple[list[Answered], list[str]]:
        """The rows with the scores that models give, and notes.

        Raises:
            ServiceError: an endpoint as a whole doesn't work.
        """
        found, notes = list(rows), list[str]()
        if "similarity" in part.settings.graders and self.embedder is not None:
            found, more = _similar(self.embedder, found)
            notes += more
        if "judge" in part.settings.graders and self.judge is not None:
            found, more = _judged(self.judge, part, found)
            notes += more
        return found, [f"{part.name}: {n}" for n in notes]


@contextmanager
def grading_models(parts: Sequence[Part], config: EvaluateConfig, root: Path, cache: Path) -> Iterator[GradingModels]:
    """What the tasks ask for. `cache`: folder of vectors and replies that were paid for.

    Raises:
        ConfigError: a task asks for one that the settings don't name, or that may not see answers. As `open_embedder`.
    """
    asked = asked_models(parts)
    for grader, where in missing_graders(parts, config).items():
        hints = {
            "similarity": "name one: evaluate.similarity, with a model or an endpoint",
            "judge": "name one: evaluate.judge.endpoint; without a model nothing is judged",
        }
        raise ConfigError(
            f"task {where} is graded by {grader}, and there is none", where="evaluate", hint=hints[grader]
        )
    if not asked:
        yield GradingModels()
        return
    from steps.engines.embed.cache import EmbeddingCache
    from steps.engines.embed.embedder import open_embedder
    from steps.engines.llm.session import ChatSession

    with ExitStack() as opened:
        embedder = judge = None
        if "similarity" in asked and config.similarity is not None:
            by = config.similarity
            refuse_egress([by.endpoint], scrubbed=False, allowed=by.allow_raw_egress, where="evaluate.similarity")
            vectors = opened.enter_context(EmbeddingCache(cache))
            embedder = opened.enter_context(open_embedder(config.similarity, root, vectors))
        if "judge" in asked and config.judge is not None:
            asks = config.judge
            refuse_egress([asks.endpoint], scrubbed=False, allowed=asks.allow_raw_egress, where="evaluate.judge")
            file = cache / "judgements.sqlite"
            judge = opened.enter_context(ChatSession(asks.endpoint, asks, file, where="evaluate.judge.endpoint"))
        yield GradingModels(embedder, judge)


def _similar(embedder: "Embedder", rows: list[Answered]) -> tuple[list[Answered], list[str]]:
    """The cosine of answer and wanted answer, 0 where it is less; no answer has 0."""
    due = [i for i, r in enumerate(rows) if r.reference and r.reference.strip()]
    said = [i for i in due if (rows[i].answer or "").strip()]
    vectors = embedder.embed([t for i in said for t in (rows[i].answer or "", rows[i].reference or "")])
    values: dict[int, float | None] = dict.fromkeys(due, 0.0)
    for n, i in enumerate(said):
        one, other = 2 * n, 2 * n + 1
        cosine = float(vectors.vectors[one] @ vectors.vectors[other])
        values[i] = max(0.0, min(1.0, cosine)) if vectors.ok[one] and vectors.ok[other] else None
    without = sum(v is None for v in values.values())
    found = [replace(r, scores={**r.scores, SIMILARITY: values[i]}) if i in values else r for i, r in enumerate(rows)]
    return found, [f"{without} answers have no vector, and so no similarity"] if without else []


def _judged(session: "ChatSession", part: Part, rows: list[Answered]) -> tuple[list[Answered], list[str]]:
    """The mean of a judge's scores, 0 (useless) to 1 (faultless); None where no verdict can be read in the reply."""
    from steps.engines.llm.client import Reply
    from steps.engines.llm.session import Question
    from steps.engines.rubric.parse import RubricScores, parse_reply

    orders = system_prompt(read_rubric(QUALITY), "conversation", f"{part.settings.rubric}\n{_BESIDE}")
    schema = verdict_schema(CRITERIA)
    due = [i for i, r in enumerate(rows) if (r.answer or "").strip()]
    cases = [_case(part, i, rows[i]) for i in due]
    decoding = [session.endpoint.model, session.endpoint.decoding()]
    questions = [
        Question(
            value_digest([text_digest(orders), framed(case), *decoding]),
            [{"role": "system", "content": orders}, {"role": "user", "content": framed(case)}], schema, "verdict",
        )
        for case in cases
    ]  # fmt: skip
    answers = session.answers(questions)
    unread: dict[str, int] = {}
    # No answer is useless, and needs no judge.
    found = [r if (r.answer or "").strip() else _with(r, 0.0, {"why": "no answer"}) for r in rows]
    for i, case, answer in zip(due, cases, answers, strict=True):
        if not isinstance(answer.reply, Reply):
            raise ServiceError(
                f"a judgement got no reply: {answer.reply.reason}, {answer.reply.detail}",
                where=session.endpoint.base_url, hint="run again: replies so far are kept",
            )  # fmt: skip
        verdict = parse_reply(answer.reply, case, CRITERIA)
        if isinstance(verdict, RubricScores):
            share = (sum(map(float, verdict.scores.values())) / len(CRITERIA) - _LOWEST) / (_HIGHEST - _LOWEST)
            found[i] = _with(rows[i], share, {"scores": verdict.scores, "reasons": verdict.reasons})
        else:
            unread[verdict] = unread.get(verdict, 0) + 1
            found[i] = _with(rows[i], None, {"undecided": verdict})
    why = ", ".join(f"{n} {reason}" for reason, n in sorted(unread.items()))
    return found, [f"the judge didn't decide on {sum(unread.values())} of {len(due)} answers: {why}"] if why else []


def _with(row: Answered, score: float | None, evidence: dict[str, object]) -> Answered:
    return replace(row, scores={**row.scores, JUDGED: score}, evidence={**(row.evidence or {}), JUDGED: evidence})


def _case(part: Part, i: int, row: Answered) -> Case:
    asked = part.asked[i]
    before = asked.row["messages"][:-1]
    wanted = asked.item.wanted if isinstance(asked.item, Item) else None
    turns = (*before, message("assistant", row.answer or ""))
    return Case(row.row_id, asked.row["content_id"], None, "conversation", turns, None, None, wanted)
