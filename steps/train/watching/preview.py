"""The batches of one optimizer step before anything is trained: as `train` would make them, by the same code."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steps.contracts.dataset import Dataset
from steps.contracts.errors import TrainingDataError
from steps.contracts.ledger import Ledger
from steps.contracts.models import ModelFolder
from steps.engines.lm.load import load_tokenizer, weights_path
from steps.engines.template.effective import config_of
from steps.train.config import TrainConfig
from steps.train.encoding import Encoding, rows_of
from steps.train.plan import make_plan
from steps.train.token_cache import Means
from steps.train.train import encode_rows
from steps.train.watching.batch import Line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Preview:
    """What a step of training is given.

    Attributes:
        passes: the lines of each forward pass of the step.
        encoding, ledger: what became of the rows; the ledger names every row that is left out or cut.
        refusal: why training would stop before its first step; "" where it wouldn't.
    """

    passes: Sequence[Sequence[Line]]
    encoding: Encoding
    ledger: Ledger
    tokenizer: "PreTrainedTokenizerBase"
    refusal: str


def preview(
    base: ModelFolder, dataset: Dataset, config: TrainConfig, folder: Path, step: int = 1, means: Means | None = None
) -> Preview:
    """The batches of optimizer step `step`. `folder` is for files that are needed while the result is.

    Raises:
        TrainingDataError: there is no row to train on. ConfigError: settings contradict each other, the model or the
            machine, or training has no such step.
    """
    from steps.train.trainer import torch_settings
    from steps.train.watching.capture import batches_of_step

    # What the share of unusable rows would stop is said, beside the rows that there are.
    lenient = config.model_copy(update={"max_unusable_share": 1.0})
    with torch_settings(config.num_threads):
        tokenizer = load_tokenizer(base)
        plan = make_plan(config, len(tokenizer))
        template = config_of(base.info.template)
        chosen = rows_of(dataset, config.rows)
        rows, ledger = encode_rows(chosen, tokenizer, template, lenient, folder / "tokens", folder, means)
        passes = batches_of_step(step, weights_path(base), tokenizer, rows, lenient, plan, folder / "checkpoints")
    return Preview(passes, rows.encoding, ledger, tokenizer, _refusal(rows.encoding, config))


def _refusal(encoding: Encoding, config: TrainConfig) -> str:
    try:
        if encoding.lint.rows:
            encoding.lint.require(max_unusable_share=config.max_unusable_share)
    except TrainingDataError as e:
        return e.what
    return ""
