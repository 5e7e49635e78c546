"""Some steps of training on this machine, by the run's own code: how long one takes."""

import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import JsonValue

from ops.batches.inputs import rows_for
from pipelines.config import RunConfig
from steps.contracts.errors import ConfigError
from steps.contracts.models import ModelFolder
from steps.train.asked import found_model
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.planning.ladder import changed_config
from steps.train.start import Start

# Chosen: the first steps load kernels and fill caches.
_WARMING = 2
# What a probe leaves out: what isn't training, or leaves this machine.
_SHORT: dict[str, JsonValue] = {
    "num_train_epochs": None, "logging_steps": 1, "save_steps": 1_000_000, "eval_steps": None, "max_eval_rows": 1,
    "max_unusable_share": 1.0, "hub_model_id": None, "sample_steps": None, "sample_prompts": [],
    "early_stopping_patience": None, "load_best_model_at_end": False, "stop_at_divergence": False,
}  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """What was measured.

    Attributes:
        step_seconds: of an optimizer step, the median over `steps` of them.
        peak: bytes of a GPU's memory at the most; None: on a CPU.
        rows: where the rows are from, in words.
    """

    step_seconds: float
    steps: int
    peak: int | None
    rows: str


def probe(root: Path, config: RunConfig, phase: TrainConfig, base: ModelFolder, steps: int) -> Probe:
    """Train some steps from `base`, on rows of the dataset version or the first ones of the sources; nothing is kept.

    Raises:
        InputNotFoundError, ConfigError, TrainingDataError: what a run of these would end with.
    """
    from steps.train.train import train

    asked = _asked(root, phase, base)
    short = changed_config(phase, {**_SHORT, "max_steps": steps + _WARMING})
    ends: list[float] = []

    def on_metrics(_: int, numbers: dict[str, float]) -> None:
        if "loss" in numbers:
            ends.append(time.monotonic())

    _forget_peak()
    with TemporaryDirectory(prefix="assay-probe-") as temporary:
        folder = Path(temporary)
        rows = rows_for(root, config, folder)
        train(base, rows.dataset, short, folder / "out", folder / "checkpoints", on_metrics, asked=asked)
    gaps = [later - earlier for earlier, later in pairwise(ends)][_WARMING - 1 :]
    if not gaps:
        raise ConfigError("no step could be timed", where="--probe", hint="probe more steps")
    return Probe(statistics.median(gaps), len(gaps), _peak(), rows.where)


def _asked(root: Path, phase: TrainConfig, base: ModelFolder) -> dict[str, Start]:
    """The models that the objective asks; the base stands in for a teacher that isn't trained yet.

    Raises:
        ConfigError: there is nothing to ask before the run.
    """
    found = {}
    for source in objective_of(phase.objective).asks():
        if source.phase is not None and phase.objective.kind == "distill":
            found[source.key] = Start(base)
        elif source.phase is not None or source.registered:
            hint = "plan without it, or name the folder of its weights"
            raise ConfigError(f"{source.key} isn't here before the run", where="--probe", hint=hint)
        else:
            found[source.key] = found_model(source, root)
    return found


def _forget_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak() -> int | None:
    import torch

    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None
