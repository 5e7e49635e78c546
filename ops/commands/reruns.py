"""`assay why-rerun` and `assay stale`: what the cache could not answer for, and which part of the key changed."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ops.console import emit, say, show_table
from ops.environment import prepare
from ops.lineage.reruns import Change, Rerun, stale, why_rerun
from ops.run import make_plan
from pipelines.slots import slot_of

# Chosen: of changed modules so many are named; JSON has them all.
_NAMED = 8
# Chosen: enough of a value or a digest to tell two apart.
_SHORT = 40


def show_why(root: Path, run: str, step: str, json_output: bool) -> None:
    """Print why a step of a run ran, or that it didn't.

    Raises:
        InputNotFoundError: no such run or step.
    """
    prepare(root)
    from steps.zenml_runtime.database import open_store, starting

    with starting():
        open_store()
    record, found = why_rerun(root, run, step)
    if json_output:
        emit({"run": record.name, **asdict(found)})
        return
    say(f"{found.step} of run {record.name}: {_state(found, ran='ran')}")
    _explain(found)


def show_stale(
    root: Path,
    config: Path,
    infra: str | None,
    stack: str | None,
    overrides: Sequence[str],
    slot: str | None,
    json_output: bool,
) -> None:
    """Print what a run of the config would run, and what it would take from the cache. Nothing is run.

    Raises:
        ConfigError, InputError: as for a run.
    """
    prepare(root)
    plan = make_plan(root, config, infra, stack, overrides, slot_of(slot) if slot else None)
    from ops.stacks.apply import apply
    from ops.stacks.files import stack_file
    from steps.zenml_runtime.database import open_store, starting

    with starting():
        open_store()
        applied = apply(stack_file(root, plan.stack), dict(os.environ))
        os.environ["ZENML_ACTIVE_STACK_ID"] = applied.id
    found = stale(root, plan, applied)
    if json_output:
        emit({"config": plan.config.name, "steps": [asdict(f) for f in found]})
        return
    show_table(["step", "", "why"], [[f.step.removesuffix("_step"), f.state, _line(f)] for f in found])
    count = Counter(f.state for f in found)
    depends = f", {count['depends']} if what they read comes out otherwise" if count["depends"] else ""
    say(f"{count['runs']} steps would run{depends}, {count['cached']} would be taken from the cache")


def _state(found: Rerun, ran: str) -> str:
    if found.state == "cached":
        return f"taken from run {found.taken_from}: nothing in its key had changed"
    return f"{ran}, since {found.why}" if not found.changes and found.why else ran


def _explain(found: Rerun) -> None:
    if not found.changes:
        return
    say(f"its key against that of run {found.compared_with}:")
    for line in _changes(found.changes):
        say(f"  {line}")
    if found.upstream:
        say(f"  made by {', '.join(s.removesuffix('_step') for s in found.upstream)}, which ran as well")
    if found.why:
        say(f"  {found.why}")


def _line(found: Rerun) -> str:
    if found.state == "cached":
        return f"from run {found.taken_from}"
    if found.state == "depends":
        return f"on what {', '.join(s.removesuffix('_step') for s in found.upstream)} gives; else unchanged"
    return "; ".join([*_changes(found.changes), *([found.why] if found.why else [])])


def _changes(changes: Sequence[Change]) -> list[str]:
    """A line per setting, input, library and store; one for all code."""
    code = [c for c in changes if c.part == "code"]
    said = [_said(c) for c in changes if c.part != "code"]
    if code:
        named = ", ".join(f"{c.name}{_how(c)}" for c in code[:_NAMED])
        said.append(f"code: {named}" + (f" and {len(code) - _NAMED} more" if len(code) > _NAMED else ""))
    return said


def _how(change: Change) -> str:
    return " (new)" if change.before is None else " (gone)" if change.after is None else ""


def _said(change: Change) -> str:
    if change.part == "input":
        return f"input {change.name}: other content"
    words = {"settings": "", "library": "library ", "store": ""}[change.part]
    return f"{words}{change.name}: {_short(change.before)} -> {_short(change.after)}"


def _short(value: object) -> str:
    said = "(absent)" if value is None else str(value)
    return said if len(said) <= _SHORT else said[: _SHORT - 1] + "…"
