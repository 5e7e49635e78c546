"""A model of a family through the pipeline: base, train, evaluate, gate, register; every row wants one and the same
answer, so that what a run must score is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support.families.models import tiny_model
from support.tracking import tracking_at

from steps.base.base import resolve_base
from steps.base.config import BaseConfig
from steps.contracts.dataset import Dataset, DatasetWriter
from steps.contracts.evaluation import Decision, Evaluation, Registration
from steps.contracts.models import ModelFolder
from steps.contracts.records import SPLITS, Row, make_row, message
from steps.engines.scoring.answers import Answered, read_answers
from steps.engines.scoring.metrics import HELD_OUT
from steps.engines.subjects.local_model import local_model
from steps.engines.template.config import TemplateConfig
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import evaluate, inference
from steps.evaluate.tasks import suite
from steps.gate.config import GateConfig
from steps.gate.gate import gate
from steps.register.cards import Candidate
from steps.register.config import RegisterConfig
from steps.register.register import register
from steps.train.config import TrainConfig
from steps.train.train import Trained, train
from steps.train.weights.full import FullOptions
from steps.train.weights.lora import LoraOptions

ANSWER = "It is light rain."
SYSTEM = "Answer in one short sentence."
THOUGHT = "Rain is usual there."
_THINGS = ("lamp", "chair", "table", "clock", "mirror", "basket", "tent", "kettle", "pillow", "rope")
_PLACES = ("Oslo", "Porto", "Leeds", "Graz", "Turin", "Lyon")
# Rows of a dataset. The gate asks for so many of the test split that none that degenerates is an upper bound below 0.1.
_TRAIN, _VALIDATION, TEST = 40, 4, 40
WEIGHTS = ("full", "lora")
MERGED = TemplateConfig(system="merge_into_user")
EVALUATE = EvaluateConfig(metrics=("loss", "exact_match"))


def question(number: int) -> str:
    """Questions of different lengths."""
    again = " and again" * (number % 5)
    return f"Where does the {_THINGS[number % 10]} of {_PLACES[number % 6]} go in week {number}{again}?"


def constant_rows(count: int, *, system: bool = True, thought: str | None = None) -> list[Row]:
    """Conversations that all end in ANSWER."""
    rows = []
    for number in range(count):
        asked = [message("system", SYSTEM)] if system else []
        asked += [message("user", question(number)), message("assistant", ANSWER, reasoning=thought)]
        raw = str(number).encode()
        rows.append(make_row(kind="conversation", source="s", locator=f"line:{number}", raw=raw, messages=asked))
    return rows


def constant_dataset(folder: Path, *, system: bool = True, thought: str | None = None) -> Dataset:
    """A version of such rows with all three splits."""
    sizes = {"train": _TRAIN, "validation": _VALIDATION, "test": TEST}
    codes = [SPLITS.index(name) for name, size in sizes.items() for _ in range(size)]
    writer = DatasetWriter(folder / "all", "ingest")
    writer.write_rows(constant_rows(len(codes), system=system, thought=thought))
    everything = np.ones(len(codes), bool)
    return writer.close().select(everything, folder / "split", "split", np.array(codes, np.int8))


def train_config(weights: str, **settings: Any) -> TrainConfig:
    """Settings that such a model learns a constant answer with, within seconds."""
    options = FullOptions() if weights == "full" else LoraOptions(r=8)
    common = {"max_steps": 60, "learning_rate": 0.01 if weights == "full" else 0.02, "max_length": 480}
    return TrainConfig(**{**common, "weights": options, "save_steps": 1_000, **settings})


@dataclass(frozen=True)
class FamilyRun:
    """What came of a run; `measured`: the base and what was trained."""

    folder: Path
    dataset: Dataset
    base: ModelFolder
    trained: Trained
    measured: tuple[Evaluation, Evaluation]
    decision: Decision
    registration: Registration

    def metric(self, subject: int, name: str) -> float:
        """The held-out value of the base (0) or of what was trained (1)."""
        found = {m.name: m.estimate.value for m in self.measured[subject].report.tasks[0].metrics}
        return found[name]

    @property
    def answered(self) -> Sequence[Answered]:
        """The held-out rows as the trained model answered them."""
        return read_answers(self.measured[1].answers)[HELD_OUT]


def run_family(
    name: str,
    weights: str,
    dataset: Dataset,
    folder: Path,
    tracking: str,
    *,
    template: TemplateConfig = MERGED,
    settings: dict[str, Any] | None = None,
    measure: EvaluateConfig = EVALUATE,
) -> FamilyRun:
    """A random model of the architecture, tuned with these weights, as far as the registry.

    Args:
        tracking: URI of the registry.
        settings: of training, beside those of `train_config`.
        measure: settings of the evaluation.
    """
    made = tiny_model(name, folder / "weights")
    base = resolve_base(BaseConfig(model=str(made.path)), folder / "base", template=template)
    trained = train(base, dataset, train_config(weights, **(settings or {})), folder / "train", folder / "checkpoints")
    measured = measured_both(base, trained.model, dataset, measure, folder)
    comparison, decision = gate(measured, GateConfig(metric="exact_match", min_n=TEST, max_perplexity_ratio=None))
    candidate = Candidate(
        base=base, base_location=base.info.base.name, model=trained.model, comparison=comparison,
        evaluations=tuple(e.report for e in measured), reports=(trained.report,), dataset=dataset.manifest,
        sources=(), training={}, lineage={"zenml_run": name},
    )  # fmt: skip
    with tracking_at(tracking):
        named = RegisterConfig(name=f"{name.lower().replace(' ', '-')}-{weights}")
        registration = register(candidate, decision, named, folder / "register")
    return FamilyRun(folder, dataset, base, trained, measured, decision, registration)


def measured_both(
    base: ModelFolder, tuned: ModelFolder, dataset: Dataset, config: EvaluateConfig, folder: Path
) -> tuple[Evaluation, Evaluation]:
    """The base, and what was made of it."""
    tasks, found = suite(dataset, config, folder), []
    for name, model in (("base", None), ("tuned", tuned)):
        with local_model(name, base, model, inference(config)) as subject:
            found.append(evaluate(subject, tasks, config, folder, folder / f"evaluated-{name}"))
    return found[0], found[1]
