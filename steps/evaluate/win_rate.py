"""Whose answers a judge prefers: every subject's beside the reference's and the champion's, in both orders."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from steps.contracts.dataset import Dataset
from steps.contracts.errors import ServiceError
from steps.contracts.evaluation import Duel, EvalReport, Evaluation, TaskKind, WinRates
from steps.contracts.models import CHAMPION
from steps.contracts.records import Row, message
from steps.contracts.reports import Table
from steps.engines.llm.account import Payer
from steps.engines.llm.caller import SERVER_FAILURES
from steps.engines.llm.egress import refuse_egress
from steps.engines.llm.session import ChatSession
from steps.engines.progress.progress import Stopwatch
from steps.engines.rubric.pairs import Compared, Pair, compare, pair_digest, position_table
from steps.engines.rubric.reading import read_rubric
from steps.engines.rubric.rubric import Rubric
from steps.engines.scoring.answers import Answered, read_answers
from steps.engines.scoring.mcnemar import holm, mcnemar
from steps.engines.scoring.metrics import Scores, estimate
from steps.engines.template.render import asked_turn, stored_messages
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.tasks import Task, row_id, sample, suite

# Tasks whose answers say something that may be said better or worse.
FREE: frozenset[TaskKind] = frozenset({"held_out", "questions", "domain", "qa"})
_WIN = {"first": 1.0, "second": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class _Duel:
    """Two subjects' answers to the same rows of a task, the subject's first."""

    task: str
    subject: str
    against: str
    pairs: Sequence[Pair]


def win_rates(
    evaluations: Sequence[Evaluation],
    reference: str,
    dataset: Dataset | None,
    config: EvaluateConfig,
    root: Path,
    cache: Path,
    payer: Payer | None = None,
) -> WinRates:
    """Ask the judge of `config` about all of them.

    Args:
        reference: name of the subject that all are held against; the champion is another one where it was measured.
        dataset, config, root: what they were evaluated by, with `win_rate` and `judge`.
        cache: where replies that were paid for are kept.
        payer: whose limit the cost is held to.

    Raises:
        ConfigError: answers that nobody scrubbed would leave the machine; the rubric doesn't compare.
        ServiceError: the judge doesn't answer.
    """
    settings, judge = config.win_rate, config.judge
    assert settings is not None and judge is not None
    watch = Stopwatch()
    rubric = require_comparing(config, root)
    tasks = [t for t in suite(dataset, config, root).tasks if t.kind in FREE]
    duels = list(_duels(evaluations, reference, tasks, settings.max_rows))
    file = cache / "preferences.sqlite"
    with ChatSession(judge.endpoint, judge, file, where="evaluate.judge", payer=payer) as session:
        pairs = [pair for d in duels for pair in d.pairs]
        both = compare(session, pairs, rubric, settings.instructions) if pairs else []
        said = iter(both)
        found = [_found(d, [next(said) for _ in d.pairs], judge.endpoint.base_url) for d in duels]
        spending, adapted = session.spending, session.adapted
    corrected = holm([d.p for d in found])
    return WinRates(
        judge=judge.endpoint.model,
        prompt_digest=pair_digest(rubric, settings.instructions),
        duels=tuple(d.model_copy(update={"p": p}) for d, p in zip(found, corrected, strict=True)),
        spent=spending.table(),
        position=_position(both, judge.endpoint.model) if both else None,
        notes=(*_notes(found, evaluations, tasks), *adapted, *spending.notes()),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def require_comparing(config: EvaluateConfig, root: Path) -> Rubric:
    """The rubric, where the judge may be asked by it.

    Raises: as `win_rates`; InputNotFoundError: no such rubric.
    """
    settings, judge = config.win_rate, config.judge
    assert settings is not None and judge is not None
    refuse_egress([judge.endpoint], scrubbed=False, allowed=judge.allow_raw_egress, where="evaluate.judge")
    rubric = read_rubric(settings.rubric, lambda name: root / name)
    rubric.require(settings.instructions, compares=True, where="evaluate.win_rate.rubric")
    return rubric


def _duels(
    evaluations: Sequence[Evaluation], reference: str, tasks: Sequence[Task], max_rows: int | None
) -> Iterator[_Duel]:
    """Of every task whom each is held against; a champion that is the reference by weights is asked about once."""
    reports = {e.report.subject: e.report for e in evaluations}
    said = {e.report.subject: read_answers(e.answers) for e in evaluations}
    same = CHAMPION in reports and _same(reports[CHAMPION], reports[reference])
    sides = duelling([s for s in reports if s == reference or not (same and s == CHAMPION)], reference)
    for task in tasks:
        chosen = chosen_rows(task, max_rows)
        for subject, opponent in sides:
            if pairs := list(_pairs(chosen, said[subject].get(task.name, ()), said[opponent].get(task.name, ()))):
                yield _Duel(task.name, subject, opponent, pairs)


def duelling(subjects: Sequence[str], reference: str) -> list[tuple[str, str]]:
    """Whose answers are held against whose: everybody's against the reference's, and the champion's where it is
    another one.
    """
    against = [reference, *([CHAMPION] if CHAMPION in subjects and reference != CHAMPION else [])]
    return [(s, opponent) for opponent in against for s in subjects if s not in (opponent, reference)]


def _same(one: EvalReport, other: EvalReport) -> bool:
    return (one.model_digest, one.decoding) == (other.model_digest, other.decoding)


def chosen_rows(task: Task, max_rows: int | None) -> dict[str, Row]:
    """Rows by their ids in answers files, in canonical order."""
    rows = {row_id(task, row): row for row in task.rows if row["kind"] != "document"}
    few = sample(((row["content_id"], name) for name, row in rows.items()), max_rows)
    return {name: rows[name] for _, name in sorted(few, key=lambda pair: pair[1])}


def _pairs(rows: dict[str, Row], one: Sequence[Answered], other: Sequence[Answered]) -> Iterator[Pair]:
    """Of the rows that both have answered."""
    first, second = ({a.row_id: a.answer for a in side} for side in (one, other))
    for name, row in rows.items():
        a, b = first.get(name), second.get(name)
        if a is not None and b is not None:
            yield pair_of(row, a, b)


def pair_of(row: Row, one: str, other: str) -> Pair:
    """Two answers to what a row asks."""
    before = tuple(stored_messages(row)[: asked_turn(row)])
    return Pair(before, (message("assistant", one),), (message("assistant", other),), row["tools"])


def _found(duel: _Duel, compared: Sequence[Compared], server: str) -> Duel:
    """Counts of a duel; its p isn't corrected.

    Raises:
        ServiceError: the server failed, which says nothing about the answers.
    """
    unread = Counter(c.error for c in compared if c.error is not None)
    if failed := SERVER_FAILURES & unread.keys():
        raise ServiceError(
            f"{sum(unread[f] for f in failed)} comparisons got no reply: {', '.join(sorted(failed))}",
            where=server, hint="run again: replies so far are kept",
        )  # fmt: skip
    won = Counter(c.winner for c in compared)
    values: list[Scores] = [{"rate": _WIN[c.winner]} for c in compared if c.winner is not None]
    return Duel(
        task=duel.task, subject=duel.subject, against=duel.against,
        wins=won["first"], ties=won["tie"], losses=won["second"], flips=sum(c.how == "flip" for c in compared),
        undecided=dict(sorted(unread.items())), rate=estimate("rate", values) if values else None,
        p=mcnemar(won["first"], won["second"]),
        longer=sum(_longer_won(pair, c) for pair, c in zip(duel.pairs, compared, strict=True)),
    )  # fmt: skip


def _position(compared: Sequence[Compared], model: str) -> Table:
    """Of all pairs, whomever they are of."""
    table = position_table(compared)
    return table.model_copy(update={"title": f"{table.title} of answers that were evaluated, by {model}"})


def _longer_won(pair: Pair, compared: Compared) -> bool:
    first, second = len(pair.first[0]["content"]), len(pair.second[0]["content"])
    return (compared.winner == "first" and first > second) or (compared.winner == "second" and second > first)


def _notes(found: Sequence[Duel], evaluations: Sequence[Evaluation], tasks: Sequence[Task]) -> Iterator[str]:
    if not found:
        yield f"no two of {len(evaluations)} subjects have answered a row of these {len(tasks)} tasks: nobody was asked"
    compared = {d.task for d in found}
    cut = {t: n for e in evaluations for t, n in json.loads(e.report.decoding).get("probe_tokens", {}).items()}
    for task in sorted(compared & cut.keys()):
        yield f"{task}: answers of {cut[task]} tokens at most, asked for to see whether they degenerate, are compared"
    held = sum(d.undecided.get("max_cost", 0) for d in found)
    if held:
        yield f"max_cost was reached: {held:,} pairs have no verdict; a run with a higher one goes on"
