"""QLoRA (Dettmers et al. 2023, arXiv 2305.14314): an adapter over weights that are held in 4 or 8 bits meanwhile.

The adapter that is saved lies over the weights in full precision: so it is evaluated, merged, registered and served,
and so the next phase starts from it. What the quantized weights had lost is not in it.
"""

from typing import Any, Literal

from pydantic import Field

from steps.contracts.errors import ConfigError
from steps.engines.lm.load import load_start
from steps.engines.lm.quantized import Quantization
from steps.train.settings import TrainSettings
from steps.train.start import Start
from steps.train.weights.loftq import begin_with_loss
from steps.train.weights.lora import Adapter, AdapterOptions, expert_weights

# bitsandbytes quantizes blocks of 64 weights with a float32 scale each; the scales, where they are quantized too, in 8
# bits with a float32 per 256 of them and one for all (arXiv 2305.14314, section 3). In 8 bits a row has one scale.
_BLOCK, _SCALES = 64, 256


class QloraOptions(AdapterOptions):
    """A LoRA adapter over quantized weights."""

    kind: Literal["qlora"] = Field("qlora", description="Train a LoRA adapter over quantized weights (2305.14314).")
    quantization: Literal["nf4", "fp4", "int8"] = Field(
        "nf4", description="How linear layers are held while training: nf4 (QLoRA's), fp4, int8 (arXiv 2208.07339)."
    )
    double_quantization: bool = Field(
        True, description="Quantize the scales of blocks as well (nf4, fp4): 0.37 bits per weight less."
    )
    init_lora_weights: Literal["default", "gaussian", "orthogonal", "eva", "loftq"] = Field(
        "default",
        description="How an adapter begins, as lora's; those that take a part of the weights need them as they are."
        " loftq (arXiv 2310.08659; nf4, fp4): with the largest part of what quantizing loses; saved as an adapter of"
        " twice the rank, which fits the base as it was.",
    )
    loftq_iter: int = Field(
        1,
        ge=1,
        le=20,
        description="loftq: times that weights are quantized, from the second on without what the adapter holds (5 in"
        " the paper).",
    )


class Qlora(Adapter):
    """An adapter in float32 over quantized weights; embeddings, norms and head stay in 16 or 32 bits."""

    options: QloraOptions

    def __init__(self, options: QloraOptions) -> None:
        self.options, self.init = options, options.init_lora_weights
        self._start: Start | None = None
        self._still_lost: float | None = None

    def clashes(self, settings: TrainSettings) -> list[str]:
        """LoftQ is of 4 bits."""
        found = super().clashes(settings)
        if self.init == "loftq" and self.options.quantization == "int8":
            found.append("init_lora_weights loftq is for weights of 4 bits, quantization is int8")
        return found

    def know_start(self, start: Start) -> None:
        """Where the weights in full precision are."""
        self._start = start

    @property
    def quantization(self) -> Quantization:
        """How the weights are held."""
        return Quantization(self.options.quantization, self.options.double_quantization)

    def packed(self, model: Any) -> tuple[int, int]:
        """All linear layers but the head."""
        import torch

        head = model.get_output_embeddings()
        linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
        return sum(m.weight.numel() for m in linear), sum(self._bytes(*m.weight.shape) for m in linear)

    def _bytes(self, rows: int, columns: int) -> int:
        """Of a matrix with its scales."""
        if self.options.quantization == "int8":
            return rows * columns + 4 * rows
        blocks = -(-rows * columns // _BLOCK)
        scales = blocks + 4 * -(-blocks // _SCALES) + 4 if self.options.double_quantization else 4 * blocks
        return rows * columns // 2 + scales

    def _experts(self, model: Any) -> list[str]:
        if found := expert_weights(model):
            raise ConfigError(
                f"weights qlora: experts ({', '.join(found)}) aren't linear layers, and wouldn't be quantized",
                where="train.weights", hint="train a mixture of experts with weights: {kind: lora}",
            )  # fmt: skip
        return []

    def begin(self, trainer: Any, settings: TrainSettings) -> None:
        """TRL holds adapters over quantized weights in bfloat16, which loses small updates: back to float32."""
        import torch

        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.to(torch.float32)
        if self.init == "loftq":
            assert self._start is not None, "told before anything is trained"
            exact = load_start(self._start.base, self._start.adapter, dtype="float32", device="cpu").model
            self._still_lost = begin_with_loss(trainer.model, exact, self.options.loftq_iter)
        super().begin(trainer, settings)

    def left_out(self, model: Any) -> list[str]:
        """That the adapter was trained beside other weights than it lies over."""
        held = f"{self.options.quantization}{', scales too' if self.options.double_quantization else ''}"
        began = []
        if self._still_lost is not None:
            left = f"{self._still_lost:.0%} of the weights' squared error was left"
            began = [f"beside the adapter that loftq began with {left}"]
        return [
            *super().left_out(model),
            *began,
            f"trained beside weights in {held}; the adapter lies over the weights in full precision, as it is"
            " evaluated and registered: the validation losses here are of the former",
        ]
