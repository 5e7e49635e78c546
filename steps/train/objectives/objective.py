"""What every objective says: which rows it takes, how they are encoded, which trainer runs, what is reported."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from steps.contracts.records import Row
from steps.train.asked import ModelSource
from steps.train.mixture import Mixture
from steps.train.row_form import TURNS, RowForm
from steps.train.rows_to_encode import RowsToEncode
from steps.train.settings import Plan, TrainSettings
from steps.train.start import Start

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

    from steps.train.encoding import Encoding
    from steps.train.trainer import Recorder

LossKernel = Literal["fused", "plain"]


@dataclass(frozen=True)
class Curve:
    """A line of the report: `key` in the trainer's log, drawn over optimizer steps."""

    title: str
    y_label: str
    key: str


@dataclass(frozen=True)
class Measure:
    """A number on the validation rows, shown as it was before and after training: `key` of what `evaluate()` gives."""

    title: str
    key: str


VALIDATION_LOSS = Measure("validation loss", "eval_loss")


@dataclass(frozen=True)
class EncodedRows:
    """Encoded rows (datasets.Dataset; `validation` None: no such split), those to train on as often as the mixture
    wants them, and what became of the others.
    """

    train: "datasets.Dataset"
    validation: "datasets.Dataset | None"
    encoding: "Encoding"
    validation_encoding: "Encoding | None"
    mixture: Mixture = field(default_factory=lambda: Mixture(seed=0))


@dataclass(frozen=True)
class Demand:
    """What a step of an objective takes besides a forward and backward pass over its sequences.

    Attributes:
        reference: the model that the trained one is held against: "none"; "without adapter": nothing but another
            forward pass; "copy": all weights once more, unless it is the trained model with its adapter taken off.
        asked_per_row: forward passes over a row by the models that the objective asks.
        answers: how many are generated at once between steps, with the tokens of a prompt and of an answer; None: none.
    """

    reference: Literal["none", "without adapter", "copy"] = "none"
    answers: tuple[int, int, int] | None = None
    asked_per_row: int = 0


@dataclass(frozen=True, eq=False)
class TrainerParts:
    """What a trainer is made of.

    Attributes:
        peft_config: peft's configuration of an adapter; None: the model's own weights are trained.
        checkpoints: the run's folder of checkpoints.
        asked: the models that the objective asks, by `ModelSource.key`.
    """

    model: Any
    tokenizer: "PreTrainedTokenizerBase"
    rows: EncodedRows
    settings: TrainSettings
    plan: Plan
    peft_config: Any
    checkpoints: Path
    recorder: "Recorder"
    asked: Mapping[str, Start] = field(default_factory=dict)

    def named(self) -> dict[str, Any]:
        """What all trainers of TRL are given, by the names that they have for it."""
        return {
            "model": self.model,
            "processing_class": self.tokenizer,
            "peft_config": self.peft_config,
            "callbacks": [self.recorder],
        }

    def give_validation(self, trainer: Any) -> None:
        """The validation rows, which TRL's constructors would tokenise, with their sources; and no printing."""
        from transformers.trainer_callback import PrinterCallback

        found = self.rows.validation_encoding
        trainer.eval_dataset, trainer.eval_origins = self.rows.validation, found.origins if found else None
        trainer.remove_callback(PrinterCallback)


class Objective(ABC):
    """An objective with its options. Nothing here imports torch before it is asked for a trainer.

    Attributes:
        curves: what the report draws; what `evaluate()` gives is also drawn as it was before training.
        measures: what of it the report shows before and after.
        learning_rate_share: of the weights' learning rate, where the config names none.
        otherwise: by kind of row, the setting with which the objective takes rows of that kind, in words.
        sequences_per_row: how many sequences of max_length tokens a forward pass has per row of its batch.
        batches_are_whole: the loss is of a batch, not of its rows each: smaller passes would compute something else.
    """

    curves: ClassVar[tuple[Curve, ...]]
    measures: ClassVar[tuple[Measure, ...]] = (VALIDATION_LOSS,)
    learning_rate_share: ClassVar[float] = 1.0
    otherwise: ClassVar[Mapping[str, str]] = MappingProxyType({})
    sequences_per_row: ClassVar[int] = 1
    batches_are_whole: ClassVar[bool] = False

    def clashes(self, settings: TrainSettings) -> list[str]:
        """Settings that contradict this objective, in words."""
        return []

    def asks(self) -> tuple[ModelSource, ...]:
        """Models that are asked beside the trained one."""
        return ()

    def functions(self) -> tuple[str, ...]:
        """Functions of the user's that are called, as package.module:name."""
        return ()

    def require_asked(self, tokenizer: "PreTrainedTokenizerBase", asked: Mapping[str, Start]) -> None:  # noqa: B027
        """Refuse models that can't be asked beside the one that is trained, before a row is encoded. `tokenizer`: of
        the latter.

        Raises:
            ConfigError: they don't go together.
        """

    def demand(self, settings: TrainSettings) -> Demand:
        """What a step takes besides, for estimates of memory and time."""
        return Demand()

    @property
    def answers_per_prompt(self) -> int:
        """How many sequences the model makes of a row, which the batch then counts; 0: rows are trained as they are."""
        return 0

    @abstractmethod
    def refusal(self, row: Row) -> str | None:
        """Why a row can't be used at all (the ledger's reason code); None: it is encoded."""

    @property
    def form(self) -> RowForm:
        """What is written of a row, where rows are rendered by the chat template."""
        return TURNS

    def encode(self, given: RowsToEncode) -> tuple["datasets.Dataset", "Encoding"]:
        """Encode one split into an Arrow file and map it; the rows are in the order of their content ids.

        Here: token ids and labels by the chat template, every row checked by the mask lint.

        Raises:
            TrainingDataError: no usable row, or more unusable rows than the settings allow.
        """
        from steps.train.encoding import write_tokens

        return write_tokens(given, self.refusal, self.form)

    def held_out(self) -> "Objective":
        """The objective as it encodes rows that are only measured."""
        return self

    def loss_kernel(self, device: str, vocab_size: int) -> LossKernel:
        """How the loss is computed from the last hidden states; decides over the memory of logits."""
        return "plain"

    @abstractmethod
    def trainer(self, parts: TrainerParts) -> Any:
        """A transformers Trainer over encoded rows.

        It counts `tokens_seen` and `trained_seen`. Its `evaluate()` gives, and logs, `eval_loss` and whatever other
        `eval_...` the objective measures, each a mean over all validation rows whatever the batch size; {} without
        validation rows.
        """
