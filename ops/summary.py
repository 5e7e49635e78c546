"""What `assay run` prints: the plan before; rows and costs, scores and registration after."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from materializers.artifacts import Artifacts, stage_of
from materializers.charts import estimated
from materializers.visible import visible
from ops.console import complain, console, print_whole, text
from ops.plan import Plan
from ops.rejected_rows import say_rejected
from ops.run_index import artifacts_of, report_path
from ops.training_plan.plan import TrainingPlan
from ops.training_plan.show import as_json as as_json_of
from ops.training_plan.show import print_training_plan
from pipelines.input_digests import Inputs
from pipelines.report.candidates import candidates
from pipelines.report.costs import StageCost, evaluation_costs, in_words, run_costs, together
from pipelines.report.ownership import ownership
from pipelines.report.verdict import judged
from steps.contracts import reports
from steps.contracts.digests import value_digest
from steps.contracts.evaluation import Comparison, Decision, Difference, EvalReport, WinRates
from steps.contracts.humanize import number
from steps.contracts.runs import RunRecord


def print_plan(plan: Plan, as_json: bool, training: TrainingPlan | str | None = None) -> None:
    """What would run, on what, reading what. `training`: what that takes, or why it isn't known."""
    if as_json:
        inputs = (plan.inputs or Inputs()).model_dump(mode="json")
        config = plan.config.model_dump(mode="json")
        shown = {"steps": plan.steps, "phases": [p.summary for p in plan.config.phases], "stack": plan.stack}
        shown["notes"] = plan.notes
        planned = as_json_of(training) if isinstance(training, TrainingPlan) else {"unknown": training}
        print(json.dumps({**shown, "training": planned, "inputs": inputs, "config": config}))
        return
    out = console()
    out.print(f"[bold]{plan.config.name}[/] · pipeline {plan.config.pipeline} · stack {plan.stack}")
    out.print(f"config digest {plan.config_digest[:16]} · commit {(plan.commit or '-')[:16]}")
    if plan.slot:
        out.print(text(f"slot {plan.slot}"))
    out.print("steps: " + " → ".join(s.removesuffix("_step") for s in plan.steps))
    for phase in plan.config.phases:
        out.print(text(f"trains {phase.summary}"))
    table = Table("reads", "digest", box=None)
    for stage, digests in (plan.inputs or Inputs()).digests.items():
        for name, digest in (_by_source(digests) if stage == "ingest" else digests).items():
            table.add_row(text(name), text(digest[:16]))
    out.print(table)
    if isinstance(training, TrainingPlan):
        out.print()
        print_training_plan(out, training)
    elif training is not None:
        out.print(text(f"what training takes isn't known: {training}; see `assay plan`"))
    out.print("nothing was run (--dry-run)")


def _by_source(digests: Mapping[str, str]) -> dict[str, str]:
    """Files by digest; a source of several files as one, with their number and a digest of all."""
    sources: dict[str, dict[str, str]] = {}
    for name, digest in digests.items():
        sources.setdefault(name.partition("/")[0], {})[name] = digest
    shown: dict[str, str] = {}
    for source, files in sources.items():
        shown |= files if len(files) == 1 else {f"{source}: {len(files):,} files": value_digest(files)}
    return shown


def say_unchanged(run: str, as_json: bool) -> None:
    """That nothing was run, since nothing has changed since that run."""
    why = f"nothing has changed since {run}: the same config, and the same bytes to read"
    print(json.dumps({"status": "skipped", "reason": why, "since": run}) if as_json else f"skipped: {why}")


def print_summary(root: Path, record: RunRecord, as_json: bool) -> None:
    """The result of a run, as a person reads it or as one JSON object."""
    page = report_path(root, record.name)
    store = artifacts_of(root, record)
    if as_json:
        print(json.dumps({**json.loads(record.model_dump_json()), **costs_as_json(store), "report": str(page)}))
        return
    out = console()
    out.print()
    costs = run_costs(store)
    print_costs(out, [*costs, *evaluation_costs(store)])
    for artifact in record.of_type("stage_report"):
        if stage_of(artifact) == "ingest":
            say_rejected(store.report(artifact))
    for table in record.sections:
        print_whole(out, _plain(table.title, table.columns, table.rows))
    for artifact in record.of_type("comparison"):
        compared = store.value(artifact, Comparison)
        print_comparison(out, compared)
        candidate = [store.value(a, Decision).candidate for a in record.of_type("decision")]
        evals = [store.value(a, EvalReport) for a in record.of_type("eval_report")]
        if owned := ownership(record, evals, costs):
            print_whole(out, _plain(owned.title, owned.columns, owned.rows))
        for sentence in judged(record, compared, candidate[-1] if candidate else None, evals, costs):
            out.print(text(sentence))
    for artifact in record.of_type("win_rates"):
        print_win_rates(out, store.value(artifact, WinRates))
    for artifact in record.of_type("decision"):
        _print_decision(out, store.value(artifact, Decision))
    if record.monitored is not None:
        asks = "; a new model is asked for" if record.monitored.retrain else ""
        style = "green" if record.monitored.verdict == "steady" else "yellow"
        out.print(text(f"production: {record.monitored.verdict.replace('_', ' ')}{asks}"), style=style)
    _print_end(out, record, costs, page)


def print_comparison(out: Console, compared: Comparison) -> None:
    """All candidates in one table, then each beside the reference."""
    if together := candidates(compared):
        print_whole(out, _plain(together.title, together.columns, together.rows))
    for candidate in compared.candidates:
        print_whole(out, _scores(compared, candidate.name))


def print_win_rates(out: Console, preferred: WinRates) -> None:
    """Whose answers the judge prefers, and what is to be known of that."""
    print_whole(out, as_text(preferred.table))
    for note in preferred.notes:
        out.print(text(note))


def print_submitted(record: RunRecord, as_json: bool) -> None:
    """A run that goes on without this command: its name, and how to hear of it."""
    from steps.zenml_runtime.following import how_to_follow

    if as_json:
        print(record.model_dump_json())
    else:
        print(record.name)
        complain(how_to_follow(record.name))


def costs_as_json(store: Artifacts) -> dict[str, list[dict[str, Any]]]:
    """The lines of the table for a program: stages, and evaluations by themselves."""
    parts = {"stages": run_costs(store), "evaluations": evaluation_costs(store)}
    return {name: [asdict(c) for c in costs] for name, costs in parts.items()}


def print_costs(out: Console, costs: Sequence[StageCost]) -> None:
    """What every stage took out and cost, then why rows went or were flagged."""
    table = Table(title="rows and cost of every stage", title_justify="left", box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("in", "new", "kept", "drop", "quar.", "chg.", "flag", "s", "CPU s", "rows/s"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    for c in costs:
        rows = (c.rows_in, c.created, c.rows_out, c.dropped, c.quarantined, c.changed, c.flagged)
        speed = "·" if c.rows_per_second is None else f"{c.rows_per_second:,.0f}"
        label = text(f"{c.stage} (cached)" if c.cached else c.stage)
        table.add_row(label, *(f"{n:,}" if n else "·" for n in rows), f"{c.seconds:.1f}", f"{c.cpu_seconds:.1f}", speed)
    table.add_row(_together(costs), *[""] * 7, *(f"{s:.1f}" for s in together(costs)), "")
    print_whole(out, table)
    reasons = [(c.stage, in_words(c.reasons)) for c in costs if c.reasons]
    if reasons:
        out.print("why")
    for stage, why in reasons:
        out.print(text(f"  {stage}: {why}"))
    for c in costs:
        for warning in c.warnings:
            out.print(text(f"warning: {c.stage}: {warning}"), style="yellow")


def _together(costs: Sequence[StageCost]) -> str:
    """Stages from the cache cost this run nothing: they are named in their lines, and not added."""
    cached = sum(c.cached for c in costs)
    return f"together, without {cached} cached" if cached else "together"


def print_usage(out: Console, record: RunRecord) -> None:
    """What the process that ran all steps cost, start-up and storing included; nothing where each had its own."""
    if record.cpu_seconds is not None and record.peak_mb is not None:
        out.print(text(f"the whole process: {record.cpu_seconds:,.1f} CPU s, peak memory {record.peak_mb:,.0f} MB"))


def as_text(table: reports.Table) -> Table:
    """A table of a report for the terminal."""
    return _plain(table.title, table.columns, table.rows)


def _plain(title: str, columns: tuple[str, ...], rows: tuple[tuple[str | int | float | None, ...], ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(text("·" if v is None else v if isinstance(v, str) else number(v)) for v in row))
    return table


def _scores(comparison: Comparison, candidate: str) -> Table:
    reference = comparison.reference.name
    title = text(f"{reference} against {candidate}, 95 % intervals")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("task", "metric"):
        table.add_column(name)
    for name in ("n", reference, candidate, "change"):
        table.add_column(text(name), justify="right")
    for d in (d for d in comparison.of(candidate) if d.metric != "non_finite"):
        cells = (d.task, d.metric, f"{d.change.n:,}", estimated(d.reference), estimated(d.candidate), _change(d))
        table.add_row(*map(text, cells))
    return table


def _change(d: Difference) -> str:
    sign = "×" if d.is_ratio else "+" if d.change.value >= 0 else ""
    return f"{sign}{estimated(d.change)}"


def _print_decision(out: Console, decision: Decision) -> None:
    word = "promoted" if decision.promote else "not promoted"
    out.print(text(f"gate: {decision.candidate} {word}"), style="green" if decision.promote else "red")
    for reason in decision.reasons:
        mark = ("✓", "green") if reason.passed else ("✗", "red")
        line = f" {reason.check}: required {reason.required}, found {reason.found}"
        out.print(Text.assemble("  ", mark, visible(line)))


def _print_end(out: Console, record: RunRecord, costs: Sequence[StageCost], page: Path) -> None:
    cached = len(record.cached_steps)
    out.print(text(f"steps: {len(record.executed_steps)} executed, {cached} from cache · run {record.name}"))
    print_usage(out, record)
    aside = sum(c.quarantined for c in costs)
    if aside and record.pipeline != "data_report":
        out.print(text(f"{aside:,} rows were set aside for a person to decide: assay review {record.name}"))
    registration = record.registration
    if registration is not None:
        aliases = ", ".join(registration.aliases) or "none"
        out.print(text(f"registered {registration.name} version {registration.version} · aliases: {aliases}"))
        out.print(text(f"  MLFLOW_TRACKING_URI={registration.tracking_uri}"))
    out.print(text(f"report {page}"))
