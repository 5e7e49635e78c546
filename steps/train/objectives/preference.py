"""What the objectives of preferences share."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from steps.contracts.dataset import Dataset
from steps.contracts.ledger import LedgerWriter
from steps.contracts.records import Row
from steps.engines.template.config import TemplateConfig
from steps.train.objectives.objective import Curve, Measure, Objective
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

    from steps.train.encoding import Encoding
    from steps.train.row_form import RowForm
    from steps.train.token_cache import Means

PairLoss = Literal["sigmoid", "ipo", "hinge"]

REWARD = "beta x nats"
ACCURACY = Measure("reward accuracy", "eval_rewards/accuracies")
MARGIN = Measure("reward margin", "eval_rewards/margins")
COURSE = (
    Curve("Learning rate", "learning rate", "learning_rate"),
    Curve("Gradient norm", "norm before clipping", "grad_norm"),
)
LIKELIHOODS = (
    Measure("log-probability of chosen answers", "eval_logps/chosen"),
    Measure("log-probability of rejected answers", "eval_logps/rejected"),
    Measure("chosen answer likelier per token", "eval_logps/accuracies"),
)


class PreferenceObjective(Objective):
    """Answers that are compared, or labelled; of a pair, both are encoded as they are generated."""

    @property
    @abstractmethod
    def form(self) -> "RowForm":
        """What the file holds of a row."""

    def clashes(self, settings: TrainSettings) -> list[str]:
        """NEFTune's noise would be in the comparison."""
        if settings.neftune_noise_alpha is not None:
            return ["neftune_noise_alpha would add noise to answers that are compared; it is for sft"]
        return []

    def refusal(self, row: Row) -> str | None:
        """Whatever is no pair."""
        return None if row["kind"] == "preference" else str(row["kind"])

    def encode(
        self,
        dataset: Dataset,
        split: str | None,
        tokenizer: "PreTrainedTokenizerBase",
        template: TemplateConfig,
        settings: TrainSettings,
        path: Path,
        ledger: LedgerWriter | None = None,
        limit: int | None = None,
        means: "Means | None" = None,
    ) -> tuple["datasets.Dataset", "Encoding"]:
        """Token ids and labels of answers by the chat template, every one checked by the mask lint."""
        from steps.engines.template.render import chat_template
        from steps.train.encoding import write_tokens

        chat = chat_template(tokenizer, template)
        return write_tokens(
            dataset, split, tokenizer, chat, settings, path, self.refusal, ledger, limit, means, self.form
        )  # fmt: skip
