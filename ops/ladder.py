"""Several bases, each tuned, evaluated and gated by one config on the same rows: the smallest that passes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from materializers.artifacts import stage_of
from ops.override_paths import typed_path
from ops.run_index import artifacts_of, find_run
from ops.training_plan.described import found_at, on_meta
from pipelines.config import RunConfig
from pipelines.load import load_model
from pipelines.report.candidates import decisive_metric
from steps.base.config import BaseConfig
from steps.base.inputs import on_this_machine
from steps.contracts.errors import AssayError, ConfigError
from steps.contracts.evaluation import Comparison, Decision, Difference, EvalReport
from steps.contracts.models import BASE
from steps.contracts.reports import StageReport, Table
from steps.engines.lm.folder import count_parameters
from steps.engines.scoring.metrics import HELD_OUT


@dataclass(frozen=True)
class Rung:
    """A base of the ladder, and what came of it.

    Attributes:
        label: what tells it from the others, in words; base: the config's section of that name.
        run: that was made of it; "": it failed, and `error` says why, or `skipped` why it wasn't run.
        parameters: weights of the base.
        promote: the gate's word; unmet: its checks that failed.
        difference: by the metric that decides, the candidate beside its own base.
        rows: digest of the dataset version whose test split was asked.
        cpu_seconds: of training. milliseconds: of CPU per answer; None: not known.
        version: in the registry, as NAME version N.
    """

    label: str
    base: dict[str, Any]
    run: str = ""
    error: str = ""
    skipped: str = ""
    parameters: int = 0
    promote: bool = False
    unmet: tuple[str, ...] = ()
    difference: Difference | None = None
    rows: str = ""
    cpu_seconds: float = 0.0
    milliseconds: float | None = None
    version: str = ""


def rungs_of(texts: Sequence[str]) -> list[Rung]:
    """The bases as they are named on the command line.

    Raises:
        ConfigError: one is no name and no mapping, two are the same, or there is only one.
    """
    found = []
    for text in texts:
        base: Any = {"model": text}
        if text.lstrip().startswith("{"):
            try:
                base = yaml.safe_load(text)
            except yaml.YAMLError as e:
                raise ConfigError(f"no YAML mapping: {text:.80}", where="BASE", hint="{model: ORG/NAME}") from e
        if not isinstance(base, dict) or not all(isinstance(key, str) for key in base):
            raise ConfigError(f"no YAML mapping: {text:.80}", where="BASE", hint="{model: ORG/NAME}")
        more = {k: v for k, v in base.items() if k != "model"}
        label = f"{base.get('model')}{', ' if more else ''}{', '.join(f'{k} {json.dumps(v)}' for k, v in more.items())}"
        found.append(Rung(label, base))
    if len(found) < 2:
        raise ConfigError("one base is no ladder", hint="assay ladder CONFIG BASE BASE...; a single one: assay run")
    twice = sorted({r.label for r in found if [o.base for o in found].count(r.base) > 1})
    if twice:
        raise ConfigError(f"named twice: {', '.join(twice)}", where="BASE")
    return found


def located(root: Path, here: Path, rungs: Sequence[Rung]) -> list[Rung]:
    """The bases as a config names them, that were typed in the folder `here`."""
    return [replace(r, base={k: typed_path(v, root, here) if k == "model" else v for k, v in r.base.items()})
            for r in rungs]  # fmt: skip


def by_size(root: Path, rungs: Sequence[Rung]) -> tuple[list[Rung], bool]:
    """The bases in order of their weights, as far as these are on this machine before anything runs; False: those of
    some aren't, and they stay as they were given.
    """
    sizes = [_weights(root, rung) for rung in rungs]
    if None in sizes:
        return list(rungs), False
    order = sorted(range(len(rungs)), key=lambda i: sizes[i] or 0)
    return [rungs[i] for i in order], True


def _weights(root: Path, rung: Rung) -> int | None:
    """Of a folder's files, else of what its config.json describes."""
    try:
        base = BaseConfig.model_validate(rung.base)
        place = None if base.is_built or base.registered else on_this_machine(root, base)
        if place is None:
            return None
        if found := count_parameters(place):
            return found
        here = found_at(place, base)
        return int(sum(p.numel() for p in on_meta(here.values(), here.file)().parameters()))
    except (AssayError, ValidationError):  # told when the config is checked with it
        return None


def overrides_of(config: RunConfig, rung: Rung) -> list[str]:
    """What the rung's run has otherwise than the config: another base; nothing is promoted or exported by itself.

    Raises:
        ConfigError: the config gates nothing.
    """
    if not config.evaluates or config.base is None:
        raise ConfigError(
            f"pipeline '{config.pipeline}' evaluates no model", where="pipeline", hint="leave it out, or say finetune"
        )
    # By the config's own name: `latest` is that of who asks, and rungs have another.
    dataset = [f"dataset={config.name}"] if config.dataset == "latest" else []
    # All of it: a revision or options of the config's own base are no other one's.
    base = f"base={json.dumps(rung.base)}"
    return [*dataset, f"name={config.name}-ladder", base, "registry.promotion=manual", "export=null"]


def config_of(path: Path, overrides: Sequence[str]) -> RunConfig:
    """The config as it is named."""
    return load_model(RunConfig, path, overrides)


def climbed(root: Path, rung: Rung, name: str, metric: str | None) -> Rung:
    """The rung with what its run says. `metric`: the gate's own; None: the first that it would take."""
    run = find_run(root, name)
    store = artifacts_of(root, run)
    comparison = store.value(run.of_type("comparison")[-1], Comparison)
    decision = store.value(run.of_type("decision")[-1], Decision)
    reports = [store.value(a, EvalReport) for a in run.of_type("eval_report")]
    bases = [store.model(a) for a in run.of_type("model") if stage_of(a) == BASE]
    trained: list[StageReport] = [
        store.report(a) for a in run.of_type("stage_report") if stage_of(a).startswith("train")
    ]
    decisive = metric or decisive_metric(comparison, [decision.candidate]) or ""
    task, _, measured = decisive.rpartition("/")
    found = (d for d in comparison.of(decision.candidate) if (d.task, d.metric) == (task or HELD_OUT, measured))
    usage = next((r.usage for r in reports if r.subject == decision.candidate), None)
    registered = run.registration
    return replace(
        rung, run=run.name, parameters=bases[-1].parameters, promote=decision.promote,
        unmet=tuple(r.check for r in decision.reasons if not r.passed), difference=next(found, None),
        rows=comparison.dataset_digest, cpu_seconds=sum(r.cpu_seconds for r in trained),
        milliseconds=1000 * usage.cpu_seconds / usage.answers if usage and usage.answers else None,
        version=f"{registered.name} version {registered.version}" if registered else "",
    )  # fmt: skip


def smallest(rungs: Sequence[Rung]) -> Rung | None:
    """The base with the fewest weights of those that pass."""
    return min((r for r in rungs if r.promote), key=lambda r: r.parameters, default=None)


def verdict(rungs: Sequence[Rung]) -> str:
    """What came of it, in a sentence."""
    first, done, left = smallest(rungs), [r for r in rungs if r.run], sum(bool(r.skipped) for r in rungs)
    if first is None:
        return f"None of {len(done)} bases passes the gate" if done else "No base has come to the gate"
    below = [r for r in done if r.parameters < first.parameters]
    less = "one smaller doesn't" if len(below) == 1 else f"{len(below)} smaller don't"
    smaller = f"; of {len(done)} bases {less}" if below else f", the smallest of {len(done)}" if not left else ""
    smaller += f"; {left} behind it {'was' if left == 1 else 'were'} not run" if left else ""
    return f"The smallest base that passes the gate is {first.label} ({first.parameters:,} weights){smaller}"


def notes(rungs: Sequence[Rung], config: RunConfig) -> list[str]:
    """What is to be known of the table."""
    said = [f"{r.label} doesn't pass: {', '.join(r.unmet)}" for r in rungs if r.run and not r.promote]
    said += [f"{r.label} wasn't run: {r.skipped}" for r in rungs if r.skipped]
    if failed := sum(not r.run and not r.skipped for r in rungs):
        said.append(f"{failed} of {len(rungs)} runs failed: whether those bases pass isn't known")
    if len({r.rows for r in rungs if r.run}) > 1:
        said.append("the runs have measured other dataset versions: their values don't compare")
    if not config.gate.floors:
        said.append(
            "each is held against its own base: gate.floors, such as {exact_match: 0.8}, sets one bar for all of them"
        )
    if len({r.difference.metric for r in rungs if r.difference}) > 1:
        said.append("not all have the same deciding metric")
    if any(r.difference and r.difference.metric in ("loss", "perplexity") for r in rungs):
        said.append("losses are per token of each base's own tokenizer: they don't compare between bases")
    said.append("of several bases each passes by chance as often as it would alone: confirm the chosen one on new rows")
    return said


def table(rungs: Sequence[Rung]) -> Table:
    """A line per base, the smallest first; those that failed behind them, those that weren't run last."""
    ordered = sorted(rungs, key=lambda r: (bool(r.skipped), not r.run, r.parameters))
    metrics = list(dict.fromkeys(r.difference.metric.replace("_", " ") for r in ordered if r.difference))
    return Table(
        title="Every base by the same config, 95 % intervals",
        columns=("base", "weights", "gate", metrics[0] if len(metrics) == 1 else "metric that decides",
                 "change from its own base", "rows", "training, CPU s", "CPU ms per answer", "registered", "run"),
        rows=tuple(_line(r, named=len(metrics) != 1) for r in ordered),
    )  # fmt: skip


def _line(r: Rung, *, named: bool) -> tuple[str | int | float | None, ...]:
    if r.skipped:
        return (r.label, None, "not run", *[""] * 7)
    if not r.run:
        return (r.label, None, f"failed: {r.error.partition(chr(10))[0]}", *[""] * 7)
    d = r.difference
    value = change = ""
    if d is not None:
        value = f"{d.candidate.value:.3f} [{d.candidate.low:.3f}, {d.candidate.high:.3f}]"
        value = f"{d.metric.replace('_', ' ')} {value}" if named else value
        change = f"{d.change.value:+.3f} [{d.change.low:+.3f}, {d.change.high:+.3f}]"
    gate = "passes" if r.promote else f"{len(r.unmet)} checks unmet"
    took = None if r.milliseconds is None else round(r.milliseconds, 1)
    return (r.label, r.parameters, gate, value, change, d.change.n if d else None, round(r.cpu_seconds, 1), took,
            r.version, r.run)  # fmt: skip


def as_object(rungs: Sequence[Rung], config: RunConfig) -> dict[str, Any]:
    """All of it, for programs."""
    first = smallest(rungs)
    return {
        "smallest": first.label if first else None,
        "verdict": verdict(rungs),
        "bases": [_plain(r) for r in rungs],
        "notes": notes(rungs, config),
    }


def _plain(r: Rung) -> dict[str, Any]:
    told = r.difference.model_dump(mode="json") if r.difference else None
    return {**asdict(replace(r, difference=None)), "difference": told}
