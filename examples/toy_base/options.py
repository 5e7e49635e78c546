"""How large the toy base model is, and how it is trained."""

from typing import Self

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen


class ToyOptions(Frozen):
    """The small Llama that `build` makes and trains, and for how long."""

    vocab_size: int = Field(2560, ge=512, le=32_768, description="BPE entries; chosen: 1.1 M weights in all")
    hidden_size: int = Field(128, ge=32, description="width; chosen, see vocab_size")
    layers: int = Field(4, ge=1, description="decoder layers; chosen, see vocab_size")
    heads: int = Field(4, ge=1, description="attention heads; hidden_size must be a multiple")
    intermediate_size: int = Field(320, ge=32, description="inner width of the gated MLP, 2.5 x hidden_size")
    max_positions: int = Field(1024, ge=128, description="longest sequence in tokens that the model is declared for")
    steps: int = Field(600, ge=1, description="optimizer steps; measured, see docs/stages/base.md")
    batch_size: int = Field(24, ge=1, description="sequences per step; measured, see docs/stages/base.md")
    learning_rate: float = Field(4e-3, gt=0, description="AdamW peak, for embeddings and norms; measured")
    muon_learning_rate: float = Field(
        0.02, gt=0, description="Muon peak, for the matrices; its paper's value, measured"
    )
    warmup_share: float = Field(0.05, ge=0, le=0.5, description="share of the steps with rising learning rate; chosen")
    general_share: float = Field(0.15, ge=0, le=1, description="share of plain English sequences; chosen")
    decline_share: float = Field(0.1, ge=0, le=1, description="share of tasks that must be declined; chosen")
    # Copying a value is learnt first where nothing but values stands in the prompt. Without this the model was still
    # guessing after 300 steps; with it and related embeddings (build.py) it had begun to look up after 125.
    bare_until: float = Field(0.3, ge=0, le=1, description="share of the steps in which bare lists fade out; measured")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of heads {self.heads}")
        if self.hidden_size // self.heads % 2:
            raise ValueError(
                f"a head has {self.hidden_size // self.heads} dimensions; rotary positions need an even one"
            )
        return self
