"""What an objective is given to encode."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steps.contracts.dataset import Dataset
from steps.contracts.ledger import LedgerWriter
from steps.engines.template.config import TemplateConfig
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steps.train.token_cache import Means


@dataclass(frozen=True, eq=False)
class RowsToEncode:
    """One split of a version, and where it goes.

    Attributes:
        split: None: every row, of a version without split labels.
        path: the Arrow file that is written.
        limit: use so many of the rows that can be used, those with the smallest content ids; None: all.
        means: where rows are encoded and kept; None: in this process, for this run.
    """

    dataset: Dataset
    split: str | None
    tokenizer: "PreTrainedTokenizerBase"
    template: TemplateConfig
    settings: TrainSettings
    path: Path
    ledger: LedgerWriter | None = None
    limit: int | None = None
    means: "Means | None" = None
