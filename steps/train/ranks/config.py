"""How many processes train a phase together: a choice of the machine; the batch stays what the run's config says."""

from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen

Strategy: TypeAlias = Literal["ddp", "fsdp2", "deepspeed"]
Offload: TypeAlias = Literal["none", "optimizer", "all"]


class Zero(Frozen):
    """What DeepSpeed's ZeRO (arXiv 1910.02054) shares, and what of it lies in the machine's memory."""

    stage: Literal[1, 2, 3] = Field(
        2, description="shares the optimizer's state; from 2 on the gradients as well; 3: and the weights"
    )
    offload: Offload = Field(
        "none", description="optimizer: its state, and its step, are the CPU's; all: the weights' shares too (stage 3)"
    )

    @model_validator(mode="after")
    def _weights_are_shared(self) -> Self:
        if self.offload == "all" and self.stage != 3:
            raise ValueError("offload: all puts shares of weights on the CPU, which stage 3 alone has; set stage: 3")
        return self


class Ranks(Frozen):
    """Processes that share a phase's batches. Weights differ in their last bits by their number, which is recorded."""

    processes: int = Field(
        1,
        ge=1,
        le=1024,
        description="processes that share each batch, one per GPU, instead of gradient accumulation; of several"
        " machines each has so many",
    )
    strategy: Strategy = Field(
        "ddp",
        description="ddp: each holds the whole model, gradients are averaged; fsdp2: each holds a share of the weights,"
        " their gradients and their optimizer's state; deepspeed: shares as `zero` says, of sft and"
        " continued_pretraining (an extra)",
    )
    zero: Zero | None = Field(None, description="of strategy deepspeed: what is shared; null: its defaults")
    nodes: int = Field(
        1,
        ge=1,
        le=1024,
        description="machines that train together: the step's own, and others on which `assay join` is run. All have"
        " the state folder, by the same path",
    )
    address: str | None = Field(
        None,
        description="HOST or HOST:PORT by which the others reach the step's machine; null: any of its addresses, a"
        " free port",
    )
    join_seconds: float = Field(
        1800.0, gt=0, description="seconds that the step waits for the other machines. Chosen: half an hour"
    )

    @model_validator(mode="after")
    def _zero_is_deepspeeds(self) -> Self:
        if self.zero is not None and self.strategy != "deepspeed":
            raise ValueError(f"zero is of strategy deepspeed, and strategy is {self.strategy}; leave it out")
        return self

    @property
    def world(self) -> int:
        """Processes of all machines."""
        return self.processes * self.nodes
