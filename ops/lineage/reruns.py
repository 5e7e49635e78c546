"""Why a step ran and wasn't taken from the cache, and which steps a run would run again: by the parts of cache keys."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ops.lineage.run_differences import flat
from ops.plan import Plan
from ops.run_index import find_run, known_runs
from steps.contracts.errors import InputNotFoundError
from steps.contracts.runs import RunRecord

if TYPE_CHECKING:
    from steps.zenml_runtime.cache_keys import KeyParts, PlannedStep, StepOfRun

Part: TypeAlias = Literal["settings", "input", "code", "library", "store"]
# Chosen: of earlier runs in which a step didn't end well, so many are passed over.
_LOOKED_AT = 20
_GOOD = ("completed", "cached")


@dataclass(frozen=True)
class Change:
    """A part of a key that differs. `before`, `after`: None where it is absent there."""

    part: Part
    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Rerun:
    """Why a step ran, or would run.

    Attributes:
        state: "cached": it wasn't run, or wouldn't be; "runs"; "depends": on what a step before it gives.
        why: in words, where no part of a key says it.
        compared_with: the run of the same config whose step its key is held against, and in which it ended well: the
            newest; before a run the one with the fewest changes.
        taken_from: the run that made what is taken, where it is cached.
        upstream: steps that run before it and give it something.
    """

    step: str
    state: Literal["cached", "runs", "depends"]
    changes: tuple[Change, ...] = ()
    why: str = ""
    compared_with: str = ""
    taken_from: str = ""
    upstream: tuple[str, ...] = ()


def why_rerun(root: Path, name: str, step: str) -> tuple[RunRecord, Rerun]:
    """Why a step of a run ran. ZenML's store must be open.

    Raises:
        InputNotFoundError: no such run or step, or ZenML's store doesn't have the run any more.
    """
    from steps.zenml_runtime.cache_keys import steps_of

    run = find_run(root, name)
    steps = steps_of(run.run_id)
    if steps is None:
        hint = "it was removed, or made with another store: of its keys nothing is known here"
        raise InputNotFoundError("ZenML's store doesn't have this run", where=f"run {run.name}", hint=hint)
    found = steps.get(step) or steps.get(f"{step}_step")
    if found is None:
        hint = "one of " + ", ".join(s.removesuffix("_step") for s in (*run.cached_steps, *run.executed_steps))
        raise InputNotFoundError(f"no step {step!r}", where=f"run {run.name}", hint=hint)
    return run, _why(root, run, found, [s.name for s in steps.values() if not s.taken_from])


def _why(root: Path, run: RunRecord, step: "StepOfRun", ran: Sequence[str]) -> Rerun:
    if step.status == "cached":
        return Rerun(step.name, "cached", taken_from=step.taken_from)
    if not step.cached:
        return Rerun(step.name, "runs", why=_never(step.name))
    runs = known_runs(root)
    earlier = [r for r in runs if r.config_name == run.config_name and r.started < run.started]
    before = next(_earlier(earlier, step.name), None)
    if before is None:
        return Rerun(step.name, "runs", why="no earlier run of this config ended this step well")
    changes = tuple(changes_between(before.parts, step.parts))
    upstream = tuple(m for m in dict.fromkeys(step.makers[c.name] for c in changes if c.part == "input") if m in ran)
    return Rerun(step.name, "runs", changes, _unsaid(before.parts, changes), before.run, upstream=upstream)


def _never(step: str) -> str:
    if step in ("start_step", "finish_step"):
        return "every run runs it: it finds out what is to be read, or writes the record"
    return "the run doesn't use the cache: --no-cache, or `enable_cache: false` in its infra file"


def _earlier(runs: Sequence[RunRecord], step: str) -> Iterator["StepOfRun"]:
    """The step in earlier runs where it ended well, the newest first."""
    from steps.zenml_runtime.cache_keys import steps_of

    for run in runs[:_LOOKED_AT]:
        found = (steps_of(run.run_id) or {}).get(step)
        if found is not None and found.status in _GOOD:
            yield found


def _unsaid(before: "KeyParts", changes: Sequence[Change]) -> str:
    """What is to be said where the parts of two keys don't."""
    if before.code is None:
        return "which code the earlier run had wasn't recorded: it was of an older version"
    return "" if changes else "no part of the key differs: what was kept for it has been removed since, or expired"


def stale(root: Path, plan: Plan, stack: Any) -> list[Rerun]:
    """For every step of a run of this plan, on its stack, whether it would run and why. Nothing is run."""
    from ops.run import pipeline_of, with_defaults
    from pipelines.input_digests import read_inputs
    from pipelines.start import StartOutputs, found_out
    from steps.zenml_runtime.cache_keys import planned
    from steps.zenml_runtime.outputs import artifact_names
    from steps.zenml_runtime.tombstones import known_tombstones

    found = found_out(plan.config, read_inputs(root, plan.config, tombstones=known_tombstones()))
    values = {artifact: getattr(found, field) for field, artifact in artifact_names(StartOutputs).items()}
    arguments: dict[str, Any] = {"config": with_defaults(plan.config), "brought": {}}
    earlier = [r for r in known_runs(root) if r.config_name == plan.config.name]
    told: list[Rerun] = []
    # Shares of a stage's rows spare it work, and are in no key: without them all keys are known before a run.
    for step in planned(pipeline_of(replace(plan, shares={}), "", stack), arguments, "start_step", values):
        told.append(_planned(step, earlier, [t.step for t in told if t.state != "cached"]))
    return told


def _planned(step: "PlannedStep", earlier: Sequence[RunRecord], running: Sequence[str]) -> Rerun:
    if not step.cached:
        return Rerun(step.name, "runs", why=_never(step.name))
    if step.taken_from:
        return Rerun(step.name, "cached", taken_from=step.taken_from)
    upstream = tuple(m for of in step.makers.values() for m in of.split(", ") if m in running and m != "start_step")
    upstream = tuple(dict.fromkeys(upstream))
    known = [(before, tuple(changes_between(before.parts, step.parts))) for before in _earlier(earlier, step.name)]
    before, changes = min(known, key=lambda k: len(k[1]), default=(None, ()))
    if before is None:
        return Rerun(step.name, "runs", why="no run of this config ended this step well", upstream=upstream)
    if step.taken_from is None and not changes:
        return Rerun(step.name, "depends", (), "", before.run, upstream=upstream)
    return Rerun(step.name, "runs", changes, _unsaid(before.parts, changes), before.run, upstream=upstream)


def changes_between(before: "KeyParts", after: "KeyParts") -> Iterator[Change]:
    """The parts that differ; what isn't known on one side is left out."""
    from steps.zenml_runtime.cache_keys import UNKNOWN

    yield from _differing("settings", _settings(before.settings), _settings(after.settings))
    for name in sorted({*before.inputs, *after.inputs}):
        old, new = before.inputs.get(name), after.inputs.get(name)
        if old != new and UNKNOWN not in (new or "").split():
            yield Change("input", name, old, new)
    if before.code is not None and after.code is not None:
        yield from _differing("code", before.code, after.code)
    if before.libraries is not None and after.libraries is not None:
        yield from _differing("library", before.libraries, after.libraries)
    if before.store != after.store:
        yield Change("store", "artifact store", before.store, after.store)


def _differing(part: Part, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield Change(part, name, before.get(name), after.get(name))


def _settings(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted path, those of the stage without the name of the parameter that they are."""
    return {name.removeprefix("config."): value for name, value in flat(parameters).items()}
