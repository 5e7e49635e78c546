"""Whether a subject degenerates on the held-out rows: by the answers that metrics need anyway, or by a few more."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest

from steps.contracts.digests import short_id
from steps.engines.graders.degeneration import DEGENERATE, degeneration
from steps.engines.scoring.answers import Answered
from steps.engines.scoring.metrics import DEGENERATE_CONTINUATION, Scores
from steps.engines.subjects.subject import Answering, Continuing, Prompt, Subject
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.tasks import Task, row_id

# Chosen: a loop shows itself in fewer, and an answer cut here is none.
_TOKENS = 64


@dataclass(frozen=True)
class Probed:
    """What was asked for this alone, by the row's position in the task; `tokens` is None where nothing was."""

    prompts: dict[int, Prompt] = field(default_factory=dict)
    answers: dict[int, str | None] = field(default_factory=dict)
    reasoning: dict[int, str | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tokens: int | None = None


def probe(subject: Subject, task: Task, asked: Sequence[Prompt | None], config: EvaluateConfig) -> Probed:
    """Answers to some prompts, none when `asked` is empty, and continuations of some documents of the held-out rows."""
    if task.kind != "held_out" or not isinstance(subject, Answering):
        return Probed()
    begun = subject.beginnings(task.rows, _TOKENS) if isinstance(subject, Continuing) else []
    prompts = {**_chosen(task, asked, config), **_chosen(task, begun, config)}
    if not prompts:
        return Probed()
    replies = subject.answer(list(prompts.values()), config.max_new_tokens or _TOKENS)
    tokens = replies.max_new_tokens
    note = f"{task.name}: {len(prompts)} rows were answered in {tokens} tokens at most, to see if the model degenerates"
    answers = dict(zip(prompts, replies.texts, strict=True))
    reasoning = dict(zip(prompts, replies.reasoning, strict=False))
    return Probed(prompts, answers, reasoning, (note, *replies.notes), tokens)


def with_faults(rows: Sequence[Answered], wanted: Sequence[Prompt | None], documents: Sequence[bool]) -> list[Answered]:
    """The rows of a task with their faults among the scores, where something was wanted of them (`wanted`: per row).

    Of documents there is one figure alone.
    """
    scored = list(rows)
    for of_documents in (False, True):
        places = [i for i, p in enumerate(wanted) if p is not None and p.reference and documents[i] == of_documents]
        faults = degeneration([rows[i].answer for i in places], [_reference(wanted[i]) for i in places])
        for i, found in zip(places, faults, strict=True):
            more: Scores = {DEGENERATE_CONTINUATION: found[DEGENERATE]} if of_documents else found
            scored[i] = replace(rows[i], scores=rows[i].scores | more)
    return scored


def _reference(prompt: Prompt | None) -> str:
    return "" if prompt is None else prompt.reference


def _chosen(task: Task, prompts: Sequence[Prompt | None], config: EvaluateConfig) -> dict[int, Prompt]:
    """Some of the prompts that want something, by hash of the row's id: the same ones in any order."""
    due = [(i, p) for i, p in enumerate(prompts) if p is not None and p.reference]
    size = config.degeneration_rows
    return dict(nsmallest(size, due, key=lambda one: short_id("degeneration", row_id(task, task.rows[one[0]]))))
