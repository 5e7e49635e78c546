"""What was measured, for those outside: figures and the run's page, without any text of rows or answers."""

from dataclasses import replace
from typing import Any

from ops.release.clearance import Clearance
from ops.release.facts import Behind, base_name
from pipelines.report.collect import collect
from pipelines.report.page import render_page
from steps.contracts.evaluation import Comparison, EvalReport
from steps.contracts.models import ModelInfo
from steps.contracts.reports import Frozen, StageReport
from steps.contracts.runs import RunRecord

# Tables of stages that hold counts and figures only; others show rows, or words of them.
_FIGURES = frozenset({
    "sources", "Split", "Personal data found", "Coverage", "Rows by deciding rule", "Scores per criterion",
    "Mean share per split", "Train rows dropped, by what they repeat", "Outcome", "By source", "Fit",
    "Memory estimate", "Tokens and cost",
})  # fmt: skip


class PublicEvaluation(Frozen):
    """Every figure of the run's evaluations.

    Attributes:
        candidate: the subject that is released; None where it wasn't evaluated.
        subjects: reports without the ways of asking that were tried, which are texts.
    """

    candidate: str | None
    model: str
    subjects: tuple[EvalReport, ...]
    comparison: Comparison | None


def evaluation_of(stores: Behind | None, clearance: Clearance, model: str) -> PublicEvaluation:
    """Of a model without a run: nothing.

    Raises:
        IntegrityError, InputNotFoundError: a report is damaged or gone.
    """
    if stores is None:
        return PublicEvaluation(candidate=None, model=model, subjects=(), comparison=None)
    run, store = stores.store.run, stores.store
    reports = [store.value(a, EvalReport) for a in run.of_type("eval_report")]
    compared = [store.value(a, Comparison) for a in run.of_type("comparison")]
    named = [r.subject for r in reports if r.model_digest == model]
    judged = clearance.decision.candidate if clearance.decision else None
    return PublicEvaluation(
        candidate=judged if judged in named else next(iter(named), None), model=model,
        subjects=tuple(r.model_copy(update={"tries": ()}) for r in reports),
        comparison=compared[-1] if compared else None,
    )  # fmt: skip


def page_of(stores: Behind) -> str:
    """The run's page, without answers, examples of rows, config and addresses.

    Raises: as `evaluation_of`.
    """
    content = collect(stores.store, None)
    rows: dict[str, int] = {}
    for source, n in content.sources.items():
        name = source.split("/", 1)[0]
        rows[name] = rows.get(name, 0) + n
    return render_page(
        replace(
            content, record=_outside(content.record), reports=tuple(map(_figures, content.reports)),
            registration=None, models=tuple(replace(m, info=_placeless(m.info)) for m in content.models), answers=(),
            answers_withheld=False, sources=rows,
        )
    )  # fmt: skip


def _placeless(info: ModelInfo) -> ModelInfo:
    """A local base is named by its folder, which is nobody's elsewhere."""
    return info.model_copy(update={"base": info.base.model_copy(update={"name": base_name(info.base)})})


def _outside(record: RunRecord) -> RunRecord:
    """The record with no address in it."""
    hidden: dict[str, Any] = {"artifact_store": "withheld://", "tracking_uri": None, "registration": None}
    return record.model_copy(update=hidden | {"log": None, "error": None, "sections": ()})


def _figures(report: StageReport) -> StageReport:
    tables = tuple(t for t in report.tables if t.title in _FIGURES)
    notes = tuple(n for n in report.notes if "fingerprint" not in n)
    return report.model_copy(update={"examples": (), "tables": tables, "notes": notes})
