"""The train stage's report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from steps.contracts.digests import value_digest
from steps.contracts.models import ModelFolder
from steps.contracts.reports import Series, StageReport, Table
from steps.engines.progress.progress import Stopwatch
from steps.train.config import TrainConfig
from steps.train.encoding import Encoding
from steps.train.fallback import Fallback
from steps.train.fallback import table as fallback_table
from steps.train.memory_estimate import Estimate
from steps.train.mixture import Mixture, source_loss
from steps.train.objectives.objective import Curve, Measure
from steps.train.objectives.registry import objective_of
from steps.train.settings import Plan
from steps.train.watching.told import fit_table, watch_notes

_LEFT_OUT = {
    "blank turn": "an assistant's turn that says nothing is context only",
    "opening turn": "the template has no prompt for a turn that opens the conversation, so it is context only",
    "reasoning": "template.thinking is off",
    "text beside a call": "the template writes the call without it",
}


@dataclass(frozen=True)
class Run:
    """What the trainer did. `before` and `after` are what its `evaluate()` gave; empty without validation rows.

    `tokens` (without padding) and `trained` count what was processed in `seconds`, after a resume since then;
    `sequences` is the number of rows, or of packs when packing. `best_step`: that the weights are of; None: the last.
    """

    steps: int
    resumed_from: int | None
    history: tuple[dict[str, Any], ...]
    before: Mapping[str, float]
    after: Mapping[str, float]
    seconds: float
    tokens: int
    trained: int
    sequences: int
    notes: tuple[str, ...] = ()
    best_step: int | None = None
    fallbacks: tuple[Fallback, ...] = ()


def build_report(
    config: TrainConfig,
    plan: Plan,
    encoding: Encoding,
    validation: Encoding | None,
    mixture: Mixture,
    run: Run,
    memory: Estimate,
    model: ModelFolder,
    watch: Stopwatch,
) -> StageReport:
    """Counts, loss curves, throughput and the settings in force."""
    objective = objective_of(config.objective)
    return StageReport(
        stage=config.stage,
        rows_in=encoding.rows_in,
        kept=encoding.kept,
        dropped=encoding.dropped,
        changed=encoding.truncated,
        dropped_by=dict(sorted(encoding.dropped_by.items())),
        counts=_counts(encoding, validation, run, model),
        histograms=(encoding.lint.share_histogram(), encoding.length_histogram("Tokens per trained row")),
        series=_series(objective.curves, run),
        tables=(
            _outcome(objective.measures, encoding, validation, run),
            *_sources(encoding, mixture, run),
            fit_table(run.history),
            _settings(config, plan),
            memory.table(),
            *fallback_table(run.fallbacks),
        ),
        examples=tuple(encoding.examples),
        notes=tuple(_notes(config, encoding, validation, run, memory, model)),
        config_digest=value_digest(config.model_dump(mode="json")),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    ).balanced()


def _counts(encoding: Encoding, validation: Encoding | None, run: Run, model: ModelFolder) -> dict[str, dict[str, int]]:
    counts = {
        "tokens": {
            "train rows": encoding.tokens,
            "of these trained": encoding.trained,
            "longest row": encoding.longest,
        },
        "weights": {"all": model.info.parameters, "trained": model.info.trainable},
        "training": {"optimizer steps": run.steps, "sequences": run.sequences, "tokens processed": run.tokens},
    }
    if encoding.answers:
        counts["answers"] = dict(sorted(encoding.answers.items()))
    if encoding.replayed:
        counts["tokens"]["of these replayed"] = encoding.replayed
    if encoding.sequences > encoding.kept:
        counts["tokens"]["sequences"] = encoding.sequences
    if encoding.lint.boundary_merged or encoding.truncated or encoding.lint.left_out:
        counts["flags"] = {
            "prompt and answer merged in one token": encoding.lint.boundary_merged,
            "truncated": encoding.truncated,
            **{f"rows without their {what}": n for what, n in sorted(encoding.lint.left_out.items())},
        }
    if validation is not None:
        counts["validation rows"] = {"used": validation.kept, **dict(sorted(validation.dropped_by.items()))}
    return counts


def _series(curves: Sequence[Curve], run: Run) -> tuple[Series, ...]:
    return tuple(found for curve in curves if (found := _line(curve, run)) is not None)


def _line(curve: Curve, run: Run) -> Series | None:
    """One curve over optimizer steps; None when the trainer logged none of it."""
    points = {float(h["step"]): float(h[curve.key]) for h in run.history if curve.key in h and h["step"] > 0}
    if curve.key in run.before:
        points = {0.0: run.before[curve.key], **points}
    if not points:
        return None
    x, y = tuple(points), tuple(points.values())
    return Series(title=curve.title, x_label="optimizer step", y_label=curve.y_label, x=x, y=y)


def _outcome(measures: Sequence[Measure], encoding: Encoding, validation: Encoding | None, run: Run) -> Table:
    rate = run.tokens / run.seconds if run.seconds > 0 and run.tokens else None
    rows: list[tuple[str, float | int | None]] = [
        ("validation rows", 0 if validation is None else validation.kept),
        *(
            (f"{measure.title} {when}", _rounded(found.get(measure.key)))
            for measure in measures
            for when, found in (("before", run.before), ("after", run.after))
        ),
        ("share of trained tokens", _rounded(encoding.trained / max(encoding.tokens, 1))),
        ("tokens per second, without padding", None if rate is None else round(rate, 1)),
        ("seconds of training", round(run.seconds, 2)),
    ]
    return Table(title="Outcome", columns=("what", "value"), rows=tuple(rows))


def _sources(encoding: Encoding, mixture: Mixture, run: Run) -> tuple[Table, ...]:
    """What an epoch is made of, and what the validation rows say, by source; nothing where there is one."""
    origins = encoding.origins
    if origins is None or len(origins.names) < 2:
        return ()
    repeats = origins.repeats(mixture)
    trained = repeats * origins.trained
    rows: list[tuple[str | float | int | None, ...]] = []
    for code, name in sorted(enumerate(origins.names), key=lambda found: found[1]):
        here, key = origins.codes == code, source_loss(name)
        share = float(trained[here].sum() / max(trained.sum(), 1))
        losses = (_rounded(run.before.get(key)), _rounded(run.after.get(key)))
        rows.append((name, int(here.sum()), int(repeats[here].sum()), round(share, 4), *losses))
    columns = ("source", "sequences", "seen per epoch", "share of trained tokens", "loss before", "loss after")
    return (Table(title="By source", columns=columns, rows=tuple(rows)),)


def _settings(config: TrainConfig, plan: Plan) -> Table:
    import torch

    kinds = [("objective", config.objective.kind), ("weights", config.weights.kind)]
    rows = [
        *kinds,
        *asdict(plan).items(),
        ("torch", torch.__version__),
        ("cpu", torch.backends.cpu.get_cpu_capability()),
    ]
    return Table(title="Settings in force", columns=("setting", "value"), rows=tuple((k, str(v)) for k, v in rows))


def _notes(
    config: TrainConfig, encoding: Encoding, validation: Encoding | None, run: Run, memory: Estimate, model: ModelFolder
) -> list[str]:
    watched = watch_notes(run.history, config, run.best_step)
    notes = [*model.info.notes, *encoding.notes, *run.notes, *watched]
    if run.resumed_from is not None:
        notes.append(f"resumed at step {run.resumed_from}; tokens processed and throughput count from there")
    if validation is None:
        notes.append("no validation rows: the only loss is the training loss")
    if encoding.lint.boundary_merged:
        notes.append(
            f"in {encoding.lint.boundary_merged} rows the prompt's end and the answer's start are one token, which"
            " generation never sees; answers that start with white space cause it"
        )
    if encoding.sequences > encoding.kept and not encoding.answers:
        notes.append(
            f"{encoding.kept} rows became {encoding.sequences} sequences: their turns can't stand in one text as they"
            " are generated (the template leaves the reasoning of earlier turns out, or the like)"
        )
    notes += [
        f"in {n} rows the {what} is left out: {_LEFT_OUT[what]}" for what, n in sorted(encoding.lint.left_out.items())
    ]
    if encoding.truncated:
        lost = (
            "lost turns that are longer than" if config.overlong == "drop" else "were cut, and don't teach to stop, at"
        )
        notes.append(f"{encoding.truncated} rows {lost} {config.max_length} tokens")
    if not memory.fits:
        notes.append("the memory estimate is above what is available: the run may be killed or swap")
    return notes


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
