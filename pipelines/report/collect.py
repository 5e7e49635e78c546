"""A run's page from its stored artifacts, so that a report can be rendered again at any time."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import pyarrow.parquet as pq

from materializers import layout
from materializers.artifacts import Artifacts, going_on, is_remote, stage_of
from pipelines.report.costs import evaluation_costs, run_costs
from pipelines.report.page import Exported, Model, RunPage, ScoredAnswer, SideBySide, Version
from steps.contracts.data_report import DataReport
from steps.contracts.errors import InputNotFoundError
from steps.contracts.evaluation import Answers, Comparison, Decision, EvalReport, Registration, WinRates
from steps.contracts.exports import ExportsManifest, ParityReport
from steps.contracts.monitoring import Monitored
from steps.contracts.reports import Frozen
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.engines.graders.degeneration import NAMES as DEGENERATION
from steps.engines.graders.labels import FOUND, WANTED
from steps.engines.scoring.metrics import LOWER_IS_BETTER, NON_FINITE, PARTS

V = TypeVar("V", bound=Frozen)
# Chosen: what a reader looks at before tiring: gains, losses, ties per task.
_GAINED, _LOST, _SAME = 3, 3, 2
# Of one answer: sums for other figures, and what is seen by reading it.
_NOT_SHOWN = PARTS | {NON_FINITE, WANTED, FOUND, *DEGENERATION}


def collect(store: Artifacts, made_by: RunRecord | None, config_yaml: str = "") -> RunPage:
    """Open everything that the page of the store's run shows. Rows are read only where the artifact store is local.

    `made_by`: the run that made the dataset (the same, or an earlier one that this one fine-tunes on); None where it
    isn't known any more.
    """
    run = store.run
    evals = {a: store.value(a, EvalReport) for a in run.of_type("eval_report")}
    datasets = run.of_type("dataset")
    scrubbed = made_by is not None and any(stage_of(a) == "scrub" for a in made_by.of_type("dataset"))
    compared = _only(store, run.of_type("comparison"), Comparison)
    return RunPage(
        record=run,
        config_yaml=config_yaml,
        reports=tuple(store.report(a) for a in run.of_type("stage_report")),
        datasets=tuple(Version(stage_of(a), a.name, store.manifest(a), a.cached) for a in datasets),
        models=tuple(Model(stage_of(a), store.model(a)) for a in run.of_type("model")),
        evals=tuple(evals.values()),
        comparison=compared,
        win_rates=_only(store, run.of_type("win_rates"), WinRates),
        decision=_only(store, run.of_type("decision"), Decision),
        monitored=_only(store, run.of_type("monitored"), Monitored),
        parity=_only(store, run.of_type("parity"), ParityReport),
        exports=tuple(_exports(store)),
        data_report=_only(store, run.of_type("data_report"), DataReport),
        registration=_only(store, run.of_type("registration"), Registration) or run.registration,
        answers=tuple(_answers(store, run, evals, compared)) if scrubbed and compared else (),
        answers_withheld=not scrubbed and bool(run.of_type("answers")),
        sources=_sources(store, run),
        costs=(*run_costs(store), *evaluation_costs(store)),
    )


def _only(store: Artifacts, found: list[ArtifactRecord], kind: type[V]) -> V | None:
    return store.value(found[-1], kind) if found else None


def _exports(store: Artifacts) -> Iterator[Exported]:
    for artifact in store.run.of_type("exports"):
        manifest = store.main_value(artifact, layout.MANIFEST, ExportsManifest)
        yield from (Exported(n, layout.model_file(artifact.uri, n), m) for n, m in manifest.exports.items())


def _sources(store: Artifacts, run: RunRecord) -> dict[str, int]:
    if is_remote(run.artifact_store):
        return {}
    try:
        return rows_by_source(store, run)
    except InputNotFoundError:
        # The shards were removed since: the page shows what is left.
        return {}


def rows_by_source(store: Artifacts, run: RunRecord) -> dict[str, int]:
    """Rows of the run's last dataset version per source, most first; none when it made no dataset."""
    versions = going_on(run)
    counts: Counter[str] = Counter()
    for chunk in store.dataset(versions[-1]).chunks(["source"]) if versions else ():
        counts.update(chunk.table["source"].to_pylist())
    return dict(counts.most_common())


def _answers(
    store: Artifacts, run: RunRecord, evals: dict[ArtifactRecord, EvalReport], compared: Comparison
) -> list[SideBySide]:
    """Of the reference and the last candidate."""
    subject_of = {a.step: report.subject for a, report in evals.items()}
    found = {subject_of[a.step]: store.answers(a) for a in run.of_type("answers") if a.step in subject_of}
    names = (compared.reference.name, compared.candidates[-1].name)
    return side_by_side(found, *names) if found.keys() >= set(names) else []


def side_by_side(answers: Mapping[str, Answers], reference: str, candidate: str) -> list[SideBySide]:
    """Per task the rows whose first shared score rose most, fell most, and some that stayed."""
    before = {(r["task"], r["row_id"]): r for r in pq.read_table(answers[reference].path).to_pylist()}
    pairs: dict[str, list[tuple[float, SideBySide]]] = {}
    for row in pq.read_table(answers[candidate].path).to_pylist():
        old = before.get((row["task"], row["row_id"]))
        # A task without answers (perplexity) has nothing to show here.
        if old is not None and row["answer"] is not None and old["answer"] is not None:
            both = _scored(reference, old), _scored(candidate, row)
            pair = SideBySide(row["task"], row["row_id"], row["prompt"], row["reference"], both)
            pairs.setdefault(row["task"], []).append((_gain(*both), pair))
    return [chosen for _, of_task in sorted(pairs.items()) for chosen in _telling(of_task)]


def _scored(subject: str, row: dict[str, Any]) -> ScoredAnswer:
    scores = {k: v for k, v in json.loads(row["scores"]).items() if k not in _NOT_SHOWN}
    return ScoredAnswer(subject, row["answer"], scores, row.get("reasoning"))


def _gain(old: ScoredAnswer, new: ScoredAnswer) -> float:
    """By the first score that tells them apart, the graders' before the others."""
    ordered = sorted(new.scores.items(), key=lambda item: item[0] in LOWER_IS_BETTER)
    for metric, value in ordered:
        before = old.scores.get(metric)
        if value is not None and before is not None and value != before:
            return before - value if metric in LOWER_IS_BETTER else value - before
    return 0.0


def _telling(pairs: list[tuple[float, SideBySide]]) -> list[SideBySide]:
    ordered = sorted(pairs, key=lambda p: (-p[0], p[1].row_id))
    gained = [p for g, p in ordered if g > 0][:_GAINED]
    lost = [p for g, p in reversed(ordered) if g < 0][:_LOST]
    same = [p for g, p in ordered if g == 0][:_SAME]
    return [*gained, *lost, *same]
