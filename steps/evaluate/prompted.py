"""A model of the run, asked as its settings say: examples and passages found, the best of several ways chosen."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from steps.contracts.dataset import Dataset
from steps.contracts.digests import short_id, value_digest
from steps.contracts.errors import ConfigError
from steps.contracts.evaluation import Try
from steps.contracts.records import Row
from steps.engines.retrieval.gold import BEFORE, Gold, depths, nowhere
from steps.engines.retrieval.passages import Index, Passages, Reranked, index, passages
from steps.engines.retrieval.questions import question, question_and_answer
from steps.engines.retrieval.words import WordIndex
from steps.engines.scoring.metrics import HELD_OUT, estimate
from steps.engines.subjects.endpoint_model import EndpointModel
from steps.engines.subjects.local_model import LocalModel
from steps.engines.subjects.prompting import Context, PromptedModel, Prompting
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import scored
from steps.evaluate.scorers import Scorer
from steps.evaluate.subject_config import SubjectConfig
from steps.evaluate.tasks import Task, sample, task_of

Exchanges: TypeAlias = list[tuple[str, str]]
# What says which try is the best: the first that the validation rows' references give.
DECISIVE = ("field_accuracy", "exact_match", "rouge_l")


@contextmanager
def prompted(
    model: LocalModel | EndpointModel,
    subject: SubjectConfig,
    dataset: Dataset,
    config: EvaluateConfig,
    root: Path,
    cache: Path,
) -> Iterator[tuple[PromptedModel, tuple[Try, ...]]]:
    """The subject, and what was tried for it on the validation split. `cache`: where vectors are kept.

    Raises:
        ConfigError: there is nothing to take examples from, or to try on.
        InputError, ServiceError: what passages are looked up in can't be read.
    """
    with _contexts(subject, dataset, root, cache) as contexts:

        def asked(one: SubjectConfig) -> PromptedModel:
            assert isinstance(one.system, str)
            return PromptedModel(subject.name, model, Prompting(
                one.system, subject.passages_as, subject.answer_after, subject.max_new_tokens,
                contexts=lambda rows: contexts.of(rows, one), lookup_notes=contexts.notes,
                identity=contexts.identity(one),
            ))  # fmt: skip

        tries = _tried(asked, subject, dataset, config, root) if len(subject.tries) > 1 else ()
        best = max(tries, key=lambda t: t.estimate.value).settings if tries else subject.tries[0]
        yield asked(subject.of(best)), tries


class _Contexts:
    """Worked examples of the train split, and passages."""

    def __init__(self, exchanges: Exchanges, looked_up: "_LookedUp | None") -> None:
        self._exchanges, self._looked_up = exchanges, looked_up
        self._similar: WordIndex | None = None

    def identity(self, one: SubjectConfig) -> dict[str, object]:
        """What decides over the contexts of these settings."""
        shots = [one.shots, one.shots_by, value_digest(self._exchanges)] if one.shots else []
        return {"shots": shots, "passages": [one.top_k, self._looked_up.digest] if self._looked_up else []}

    def of(self, rows: Sequence[Row], one: SubjectConfig) -> list[Context]:
        """What is put around each row's question."""
        assert isinstance(one.shots, int) and isinstance(one.top_k, int)
        questions = [question(row) for row in rows]
        found: list[tuple[list[str], dict[str, float]]] = [([], {}) for _ in rows]
        if self._looked_up and one.top_k:
            found = self._looked_up.of(questions, [Gold.of(row) for row in rows], one.top_k)
        shown = self._examples(questions, one.shots, similar=one.shots_by == "similar")
        return [Context(tuple(e), tuple(p), scores) for e, (p, scores) in zip(shown, found, strict=True)]

    def notes(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """What these rows are answered by and can't be looked up."""
        golds = [gold for row in rows if (gold := Gold.of(row))]
        return self._looked_up.notes(golds) if self._looked_up and golds else ()

    def _examples(self, questions: Sequence[str], shots: int, *, similar: bool) -> list[Exchanges]:
        """The nearest one last. None of them asks the very question."""
        if not shots:
            return [[] for _ in questions]
        if not similar:
            return [[e for e in self._exchanges[: shots + 1] if e[0] != q][:shots] for q in questions]
        if self._similar is None:
            self._similar = WordIndex([asked for asked, _ in self._exchanges])
        found = self._similar.nearest(questions, shots + 1)
        near = ([self._exchanges[n] for n in numbers] for numbers in found)
        return [[e for e in few if e[0] != q][:shots][::-1] for few, q in zip(near, questions, strict=True)]


@contextmanager
def _contexts(subject: SubjectConfig, dataset: Dataset, root: Path, cache: Path) -> Iterator[_Contexts]:
    exchanges = _exchanges(dataset, subject) if any(t["shots"] for t in subject.tries) else []
    if subject.retrieval is None:
        yield _Contexts(exchanges, None)
        return
    found = passages(subject.retrieval, dataset, root)
    settings = subject.retrieval.model_dump(mode="json", exclude={"documents"})
    with index(found, subject.retrieval, root, cache) as known:
        yield _Contexts(exchanges, _LookedUp(found, known, value_digest([found.digest, settings])))


class _LookedUp:
    """Passages found by an index, without exchanges of the train split that ask the very question: those are no help,
    they hold the answer.
    """

    def __init__(self, found: Passages, known: Index, digest: str) -> None:
        self.digest = digest
        self._passages, self._known = found, known

    def of(
        self, questions: Sequence[str], golds: Sequence[Gold], top_k: int
    ) -> list[tuple[list[str], dict[str, float]]]:
        """Per question the best passages, and how much of what it is answered by was found."""
        second = self._known if isinstance(self._known, Reranked) else None
        at = list(depths(top_k, second.candidates if second else None))
        deepest = max(at, default=0) if any(golds) else 0
        numbers = self._nearest(self._known, questions, max(top_k, deepest))
        before = self._nearest(second.first, questions, deepest) if second and deepest else [[] for _ in questions]
        found = []
        for gold, best, first in zip(golds, numbers, before, strict=True):
            scores = gold.recall(best, self._passages, at)
            if second:
                scores |= gold.recall(first, self._passages, at, BEFORE)
            found.append(([self._passages.texts[n] for n in best[:top_k]], scores))
        return found

    def _nearest(self, known: Index, questions: Sequence[str], k: int) -> list[list[int]]:
        few = known.nearest(questions, k + 1)
        texts = self._passages.texts
        return [[n for n in some if not _asks(texts[n], q)][:k] for some, q in zip(few, questions, strict=True)]

    def notes(self, golds: Sequence[Gold]) -> tuple[str, ...]:
        """What stands nowhere among the passages, so that no way of looking up finds it."""
        lost = nowhere(golds, self._passages).items()
        return tuple(f"{n} of {of} gold {what} stand nowhere in what is looked up" for what, (n, of) in lost if n)


def _asks(passage: str, asked: str) -> bool:
    return passage.startswith(f"{asked}\n")


def _exchanges(dataset: Dataset, subject: SubjectConfig) -> Exchanges:
    """Questions and answers of the train split, in an order of their hashes."""
    found = {
        e for table in dataset.tables(split="train") for row in table.to_pylist() if (e := question_and_answer(row))
    }
    if not found:
        raise ConfigError(
            "no examples to show: the train split has no conversation of one exchange",
            where=f"evaluate.subjects: {subject.name}", hint="leave shots out",
        )  # fmt: skip
    return sorted(found, key=lambda e: short_id("shots", *e))


def _tried(
    asked: Callable[[SubjectConfig], PromptedModel],
    subject: SubjectConfig,
    dataset: Dataset,
    config: EvaluateConfig,
    root: Path,
) -> tuple[Try, ...]:
    """Every way of asking on the same validation rows."""
    task = _validation(dataset, subject)
    tries = []
    for values in subject.tries:
        rows, scorer = scored(asked(subject.of(values)), task, config, root)
        metric = _decisive(scorer)
        found = estimate(metric, [row.scores for row in rows])
        if found is None:
            raise ConfigError(
                f"no validation row has a {metric} to choose by", where=f"evaluate.subjects: {subject.name}",
                hint="say one system, shots and top_k instead of lists",
            )  # fmt: skip
        tries.append(Try(settings=values, metric=metric, estimate=found))
    return tuple(tries)


def _decisive(scorer: Scorer) -> str:
    return next((m for m in DECISIVE if m in scorer.graders), "exact_match")


def _sampled(row: Row) -> bool:
    """Whether the row's answers are a model's samples, which say nothing of how it should be asked."""
    said = json.loads(row["meta"] or "{}").get("preference")
    return row["kind"] == "preference" and isinstance(said, dict) and "margin" in said


def _validation(dataset: Dataset, subject: SubjectConfig) -> Task:
    found = (r for table in dataset.tables(split="validation") for r in table.to_pylist())
    rows = [r for r in found if r["label"] is not False and not _sampled(r)]
    chosen = {record for _, record in sample(((r["content_id"], r["record_id"]) for r in rows), subject.tried_on)}
    if not chosen:
        raise ConfigError(
            "nothing to try prompts on: the validation split is empty", where=f"evaluate.subjects: {subject.name}",
            hint="raise split.validation, or say one value instead of lists",
        )  # fmt: skip
    return task_of(
        HELD_OUT, "held_out", sorted((r for r in rows if r["record_id"] in chosen), key=lambda r: r["record_id"]), ()
    )
