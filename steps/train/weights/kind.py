"""What every kind of weights says: what is trained, in which precision, at which learning rate, how it is saved."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from steps.contracts.models import ModelInfo
from steps.engines.lm.quantized import Quantization
from steps.train.settings import TrainSettings
from steps.train.start import Start

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Draw:
    """What a kind that draws its weights draws by: another seed or round draws others.

    Attributes:
        round: number of models between the base and what training starts from.
    """

    seed: int = 0
    round: int = 0


class WeightsKind(ABC):
    """A kind of weights with its options, for one phase. Nothing here imports torch before it is asked for a model.

    Attributes:
        learning_rate: peak where the config names none.
        stored_as: whether the result is an adapter over the model that it starts from, or a model of its own.
        lighter: what to set instead where memory is short, as key=value of a phase; None: nothing needs less.
    """

    learning_rate: ClassVar[float]
    stored_as: ClassVar[Literal["adapter", "full"]]
    lighter: ClassVar[str | None] = None

    def clashes(self, settings: TrainSettings) -> list[str]:
        """Settings that contradict this kind, in words."""
        return []

    @property
    def keeps_start(self) -> bool:
        """Whether the trained model with its adapter switched off is what training started from, so that it can be its
        own reference.
        """
        return False

    @property
    def names_parts(self) -> bool:
        """Whether the options name layers, modules or weights, which a model may not have."""
        return False

    @property
    def quantization(self) -> Quantization | None:
        """How the weights that stay are held while training; None: as they are."""
        return None

    @abstractmethod
    def dtype(self, gpu_bf16: bool) -> Dtype:
        """Precision of the weights in memory where the config says auto. `gpu_bf16`: a GPU that has bfloat16."""

    def know_start(self, start: Start) -> None:  # noqa: B027 - most kinds need the loaded model alone
        """What training starts from, told before it is prepared."""

    def prepare(self, model: Any, draw: Draw) -> None:  # noqa: B027 - many train what the model brings
        """Say which of a loaded model's own weights are trained, before a trainer takes it.

        Raises:
            ConfigError: the options don't fit this model.
        """

    def peft_config(self, model: Any) -> Any:
        """peft's configuration for a model, which TRL's trainers take; None: no adapter.

        Raises:
            ConfigError: the options don't fit this model.
        """
        return None

    def attached(self, model: Any) -> Any:
        """The model with what is trained, as the memory estimate counts it (on the meta device).

        Raises:
            ConfigError: the options don't fit this model.
        """
        self.prepare(model, Draw())
        return model

    def packed(self, model: Any) -> tuple[int, int]:
        """How many weights of a model (on the meta device) are held in fewer bits than `dtype` has, and the bytes that
        these take, what is needed to unpack them included.
        """
        return 0, 0

    def smaller(self, scale: float) -> "WeightsKind":
        """The same kind for a model of the same architecture with widths divided by `scale` and few layers, on which
        the memory estimate counts.
        """
        return self

    def keeping(self, layers: int) -> int:
        """How many layers of a model of so many keep activations for the backward pass: those behind the first whose
        weights are trained, and that one.
        """
        return layers

    def begin(self, trainer: Any, settings: TrainSettings) -> None:  # noqa: B027 - many have nothing to do
        """A trainer has taken the model, and nothing is trained yet."""

    def left_out(self, model: Any) -> list[str]:
        """What of a trained model isn't trained although the options sound like it, in words."""
        return []

    def core(self, model: Any) -> Any:
        """The transformers model in a trained model."""
        return model

    def save(self, model: Any, folder: Path) -> None:
        """Write the trained weights as safetensors."""
        model.save_pretrained(str(folder))

    def finish(self, folder: Path, over: ModelInfo) -> None:  # noqa: B027 - most kinds have nothing to do
        """Make a saved folder the same on every machine. `over`: the full weights that training started from."""
