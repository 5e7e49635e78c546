"""What `assay run` prints: the plan before; rows and costs, scores and registration after."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from materializers.visible import visible
from ops.plan import Plan
from ops.run_index import artifacts_of, report_path
from pipelines.inputs import Inputs
from pipelines.report.costs import StageCost, run_costs, said
from steps.contracts.evaluation import Comparison, Decision, Difference, Estimate
from steps.contracts.runs import RunRecord

# A log file has no width of its own.
_LOG_WIDTH = 130


def print_plan(plan: Plan, as_json: bool) -> None:
    """What would run, on what, reading what."""
    if as_json:
        inputs = (plan.inputs or Inputs()).model_dump(mode="json")
        config = plan.config.model_dump(mode="json")
        print(json.dumps({"steps": plan.steps, "stack": plan.stack, "inputs": inputs, "config": config}))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{plan.config.name}[/] · pipeline {plan.config.pipeline} · stack {plan.stack}")
    console.print(f"config digest {plan.config_digest[:16]} · commit {(plan.commit or '-')[:16]}")
    console.print("steps: " + " → ".join(s.removesuffix("_step") for s in plan.steps))
    table = Table("reads", "digest", box=None)
    for digests in (plan.inputs or Inputs()).digests.values():
        for name, digest in digests.items():
            table.add_row(_text(name), _text(digest[:16]))
    console.print(table)
    console.print("nothing was run (--dry-run)")


def print_summary(root: Path, record: RunRecord, as_json: bool) -> None:
    """The result of a run, as a person reads it or as one JSON object."""
    page = report_path(root, record.name)
    store = artifacts_of(root, record)
    if as_json:
        stages = [asdict(c) for c in run_costs(store)]
        print(json.dumps({**json.loads(record.model_dump_json()), "stages": stages, "report": str(page)}))
        return
    console = summary_console()
    console.print()
    costs = run_costs(store)
    print_costs(console, costs)
    for table in record.sections:
        console.print(_plain(table.title, table.columns, table.rows))
    for artifact in record.of_type("comparison"):
        compared = store.value(artifact, Comparison)
        for candidate in compared.candidates:
            console.print(_scores(compared, candidate.name))
    for artifact in record.of_type("decision"):
        _print_decision(console, store.value(artifact, Decision))
    _print_end(console, record, costs, page)


def summary_console() -> Console:
    """A console that doesn't fold tables where nobody said how wide it is."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _LOG_WIDTH)


def print_costs(console: Console, costs: Sequence[StageCost]) -> None:
    """What every stage took out and cost, then why rows went or were flagged."""
    table = Table(title="rows and cost of every stage", title_justify="left", box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("in", "new", "kept", "drop", "quar.", "chg.", "flag", "s", "CPU s", "rows/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in costs:
        rows = (c.rows_in, c.created, c.rows_out, c.dropped, c.quarantined, c.changed, c.flagged)
        speed = "·" if c.rows_per_second is None else f"{c.rows_per_second:,.0f}"
        label = _text(f"{c.stage} (cached)" if c.cached else c.stage)
        table.add_row(label, *(f"{n:,}" if n else "·" for n in rows), f"{c.seconds:.1f}", f"{c.cpu_seconds:.1f}", speed)
    together = f"{sum(c.seconds for c in costs):.1f}", f"{sum(c.cpu_seconds for c in costs):.1f}"
    table.add_row("together", *[""] * 7, *together, "")
    console.print(table)
    reasons = [(c.stage, said(c.reasons)) for c in costs if c.reasons]
    if reasons:
        console.print("why")
    for stage, why in reasons:
        console.print(_text(f"  {stage}: {why}"))


def _text(value: str) -> Text:
    """Words from data, configs and file names: nothing in them is read as markup, or moves the cursor."""
    return Text(visible(value))


def _plain(title: str, columns: tuple[str, ...], rows: tuple[tuple[str | int | float | None, ...], ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(_text("·" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v)) for v in row))
    return table


def _scores(comparison: Comparison, candidate: str) -> Table:
    reference = comparison.reference.name
    title = _text(f"{reference} against {candidate}, 95 % intervals")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("task", "metric"):
        table.add_column(name)
    for name in ("n", reference, candidate, "change"):
        table.add_column(_text(name), justify="right")
    for d in (d for d in comparison.of(candidate) if d.metric != "non_finite"):
        cells = (d.task, d.metric, f"{d.change.n:,}", _interval(d.reference), _interval(d.candidate), _change(d))
        table.add_row(*map(_text, cells))
    return table


def _interval(e: Estimate) -> str:
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"


def _change(d: Difference) -> str:
    e = d.change
    sign = "×" if d.is_ratio else "+" if e.value >= 0 else ""
    return f"{sign}{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"


def _print_decision(console: Console, decision: Decision) -> None:
    word = "promoted" if decision.promote else "not promoted"
    console.print(_text(f"gate: {decision.candidate} {word}"), style="green" if decision.promote else "red")
    for reason in decision.reasons:
        mark = ("✓", "green") if reason.passed else ("✗", "red")
        line = f" {reason.check}: required {reason.required}, found {reason.found}"
        console.print(Text.assemble("  ", mark, visible(line)))


def _print_end(console: Console, record: RunRecord, costs: Sequence[StageCost], page: Path) -> None:
    cached = len(record.cached_steps)
    console.print(_text(f"steps: {len(record.executed_steps)} executed, {cached} from cache · run {record.name}"))
    if record.cpu_seconds is not None and record.peak_mb is not None:
        console.print(
            _text(f"the whole process: {record.cpu_seconds:,.1f} CPU s, peak memory {record.peak_mb:,.0f} MB")
        )
    aside = sum(c.quarantined for c in costs)
    if aside:
        console.print(_text(f"{aside:,} rows were set aside for a person to decide: assay review {record.name}"))
    registration = record.registration
    if registration is not None:
        aliases = ", ".join(registration.aliases) or "none"
        console.print(_text(f"registered {registration.name} version {registration.version} · aliases: {aliases}"))
        console.print(_text(f"  MLFLOW_TRACKING_URI={registration.tracking_uri}"))
    console.print(_text(f"report {page}"))
