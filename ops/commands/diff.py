"""`assay diff`: what changed from one dataset version to another, and from one run to another."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from materializers.artifacts import json_value
from ops.console import emit, heading, say, show_table
from ops.lineage.run_differences import MetricPair, RunDifferences, differences_of
from ops.references import reference
from ops.row_history import row_of
from ops.run_index import LATEST, matching_runs
from ops.versions import CHANGES, Difference, Example, Version, compare, find_version, version_before
from steps.contracts.errors import InputNotFoundError
from steps.contracts.evaluation import Estimate
from steps.contracts.humanize import number
from steps.contracts.records import text_of
from steps.contracts.runs import RunRecord

_SHORT = 16
# Chosen: enough of a text to recognise the row on one or two lines of a terminal.
_EXCERPT = 120
# Characters shown before the first one that differs.
_LEAD = 30


def show_difference(root: Path, a: str, b: str | None, rows: int, json_output: bool) -> None:
    """Print what was added, removed and changed from `a` to `b`, why, and up to `rows` examples of each; of two runs
    also what differs in config, code, metrics and cost.

    Without `b` the newest version is compared with `a`; where that is 'latest', with the one before of its config.

    Raises:
        InputNotFoundError, InputError: a name fits no version, or several.
    """
    (run_a, before), (run_b, after) = _sides(root, a, b)
    runs = differences_of(root, run_a, run_b) if run_a != run_b else None
    found, shown = None, []
    if before and after:
        found = compare(root, before, after, rows)
        shown = [{**asdict(e), "text": _texts(e, before, after)} for e in found.examples]
    if json_output:
        emit(_as_json(run_a, run_b, before, after, found, runs) | {"examples": shown})
        return
    if before and after and found:
        _show(found, before, after)
    else:
        heading(f"{run_a.name} to {run_b.name}")
        without = [run.name for run, version in ((run_a, before), (run_b, after)) if version is None]
        say(f"no rows are compared: {' and '.join(without)} made no dataset")
    for example in shown:
        _show_example(example)
    if runs is not None:
        _show_runs(runs)


_Side: TypeAlias = tuple[RunRecord, Version | None]


def _sides(root: Path, a: str, b: str | None) -> tuple[_Side, _Side]:
    """What the names mean; a run that made no dataset has no version."""
    if b is None and a == LATEST:
        after = find_version(root, LATEST)
        before = version_before(root, after)
        return (before.run, before), (after.run, after)
    return _side(root, a), _side(root, b or LATEST)


def _side(root: Path, name: str) -> _Side:
    try:
        version = find_version(root, name)
    except InputNotFoundError as e:
        fits = [] if reference(name, "run", "dataset").kind == "dataset" else _runs(root, name)
        if not fits or fits[0].of_type("dataset"):
            raise e from None
        return fits[0], None
    return version.run, version


def _runs(root: Path, name: str) -> list[RunRecord]:
    try:
        return matching_runs(root, name)
    except InputNotFoundError:
        return []


def _as_json(
    run_a: RunRecord,
    run_b: RunRecord,
    a: Version | None,
    b: Version | None,
    found: Difference | None,
    runs: RunDifferences | None,
) -> dict[str, Any]:
    said: dict[str, Any] = {"a": _named(a) if a else {"run": run_a.name}, "b": _named(b) if b else {"run": run_b.name}}
    if found is not None:
        why = [dict(zip(("change", "why", "rows"), w, strict=True)) for w in found.why]
        said |= {"same": found.same, **asdict(found), "why": why}
    return said | {"runs": runs and {**asdict(runs), "metrics": [_metric_as_json(m) for m in runs.metrics]}}


def _metric_as_json(pair: MetricPair) -> dict[str, Any]:
    return {**vars(pair), "a": json_value(pair.a), "b": json_value(pair.b)}


def _show_runs(found: RunDifferences) -> None:
    """What differs besides rows."""
    a, b = found.commit.a, found.commit.b
    if a != b:
        files = "" if found.files is None else f", {len(found.files)} Python files differ"
        say(f"code: {_commit(a)} to {_commit(b)}{files}")
    for name, pairs in (("config", found.config), ("library", found.packages)):
        if pairs:
            show_table([name, "a", "b"], [[p.name, _value(p.a), _value(p.b)] for p in pairs])
    if not found.config:
        say("the same config")
    if found.metrics:
        rows = [[m.subject, m.task, m.metric, _estimate(m.a), _estimate(m.b), _note(m)] for m in found.metrics]
        show_table(["subject", "task", "metric", "a", "b", ""], rows)
    if found.stages:
        stages = [[s.stage, s.rows_a, s.rows_b, s.cpu_a, s.cpu_b] for s in found.stages]
        show_table(["stage", "rows kept a", "b", "CPU s a", "b"], stages, numeric=[1, 2, 3, 4])
    cost = [[p.name.replace("_", " "), p.a, p.b] for p in found.cost]
    show_table(["whole run", "a", "b"], cost, numeric=[1, 2])


def _commit(commit: str | None) -> str:
    return commit[:_SHORT] if commit else "not a checkout"


def _value(value: Any) -> str:
    said = "(absent)" if value is None else str(value)
    return said if len(said) <= _EXCERPT else said[: _EXCERPT - 1] + "…"


def _estimate(found: Estimate | None) -> str:
    return "" if found is None else f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def _note(pair: MetricPair) -> str:
    return "" if pair.alike or pair.a is None or pair.b is None else "other rows, or scored otherwise"


def _named(version: Version) -> dict[str, Any]:
    return {
        "run": version.run.name,
        "version": version.artifact.name,
        "digest": version.dataset.digest,
        "rows": version.dataset.rows,
    }


def _show(found: Difference, a: Version, b: Version) -> None:
    heading(f"{a.run.name} to {b.run.name}")
    columns = ["", "version", "digest", "rows"]
    named = [(side, _named(v)) for side, v in (("a", a), ("b", b))]
    show_table(columns, [[s, n["version"], n["digest"][:_SHORT], n["rows"]] for s, n in named], numeric=[3])
    if found.same:
        say("the same rows in both")
        return
    show_table(["change", "why", "rows"], [list(w) for w in found.why], numeric=[2])
    for name, parts in (("source", found.by_source), ("split", found.by_split)):
        show_table([name, *CHANGES], [list(p) for p in parts], numeric=[1, 2, 3])
    say(", ".join(f"{found.totals[c]:,} {c}" for c in CHANGES))
    for change, other in (("added", "a"), ("removed", "b")):
        if found.moved[change]:
            say(f"of the {change} rows {found.moved[change]:,} say what a row of {other} says, under another id")


def _show_example(example: dict[str, Any]) -> None:
    say(f"{example['change']}  {example['record_id']}  {example['why']}")
    for side, text in example["text"].items():
        say(f"  {side}: {text}" if text is not None else f"  {side}: (not scrubbed: not shown)")


def _texts(example: Example, a: Version, b: Version) -> dict[str, str | None]:
    """The row's text in the versions that hold it, from the first difference on; None where it was never scrubbed."""
    sides = {side: v for side, v in (("a", a), ("b", b)) if example.change in ("changed", _only_in(side))}
    if not all(v.scrubbed for v in sides.values()):
        return dict.fromkeys(sides)
    texts = {side: _text(v, example.record_id) for side, v in sides.items()}
    start = max(_common(*texts.values()) - _LEAD, 0) if len(texts) > 1 else 0
    return {side: _excerpt(text, start) for side, text in texts.items()}


def _only_in(side: str) -> str:
    return "removed" if side == "a" else "added"


def _text(version: Version, record_id: str) -> str:
    row = row_of(version.dataset, record_id)
    return " ".join(text_of(row).split()) if row else ""


def _common(one: str, other: str) -> int:
    """Length of the common beginning; 0 for equal texts."""
    at = next((i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), min(len(one), len(other)))
    return 0 if one == other else at


def _excerpt(text: str, start: int) -> str:
    cut = text[start : start + _EXCERPT]
    return f"{'…' if start else ''}{cut}{'…' if start + _EXCERPT < len(text) else ''}"
