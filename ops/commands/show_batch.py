"""`assay show-batch`: what a step of training is given, before anything is trained."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ops.batches.inputs import Rows, base_for, phase_of, rows_for
from ops.batches.page import render_batch
from ops.batches.shown import Shown, shown
from ops.batches.terminal import draw
from ops.console import emit, say
from ops.environment import prepare
from pipelines.config import RunConfig
from pipelines.load import load_model
from steps.contracts.errors import ConfigError
from steps.contracts.storage import write_whole
from steps.engines.execution.config import ExecutorConfig
from steps.train.config import TrainConfig
from steps.train.token_cache import Means
from steps.train.watching.preview import preview
from steps.zenml_runtime.state import state_folder


def show_batch(
    root: Path,
    config_path: Path,
    overrides: Sequence[str],
    phase: str | None,
    step: int,
    lines: int | None,
    html: Path | None,
    raw: bool,
    json_output: bool,
) -> None:
    """Draw the lines of optimizer step `step`, at most `lines` of them, on the terminal, as a page, or as JSON.

    Raises:
        ConfigError: the config is wrong, or its rows were never scrubbed and `raw` doesn't say to show them.
        InputNotFoundError, InputError, TrainingDataError: there are no rows to train on.
    """
    prepare(root)
    config = load_model(RunConfig, config_path, overrides)
    chosen = phase_of(config, phase)
    with tempfile.TemporaryDirectory(prefix="assay-batch-") as folder:
        rows = rows_for(root, config, Path(folder))
        if rows.version and not rows.scrubbed and not raw:
            raise ConfigError(
                "its rows were never scrubbed, so that their text isn't shown", where=rows.where, hint="--raw shows it"
            )
        base = base_for(root, config, Path(folder) / "base")
        found = preview(base, rows.dataset, chosen, Path(folder) / "batch", step, _means(root, rows, chosen))
        batch = shown(f"{config.name}, {chosen.model_name}", step, found, rows, lines, _notes(rows, chosen))
    _put(batch, html, json_output)


def _put(batch: Shown, html: Path | None, json_output: bool) -> None:
    if html is not None:
        write_whole(html, render_batch(batch))
    if json_output:
        emit({"page": str(html) if html else None, **asdict(batch)})
    elif html is not None:
        say(str(html))
    else:
        draw(batch)


def _means(root: Path, rows: Rows, phase: TrainConfig) -> Means:
    """What the training step itself keeps of a version's tokens; of the first rows alone nothing is kept."""
    executor = ExecutorConfig().executor()
    if not rows.version:
        return Means(executor)
    from steps.train.step import key

    return Means(executor, state_folder(root) / "tokens" / phase.stage, key())


def _notes(rows: Rows, phase: TrainConfig) -> list[str]:
    notes = []
    if not rows.version:
        notes.append(
            "no completed run of this config has made a dataset yet: these are the sources' first rows without any"
            " curation, so that a run trains others, or these in another order"
        )
    if phase.starts_from not in (None, "base"):
        notes.append(f"the phase starts from {phase.starts_from}; the tokenizer shown here is the base's")
    return notes
