"""How many processes train a phase together: a choice of the machine; the batch stays what the run's config says."""

from typing import Literal, TypeAlias

from pydantic import Field

from steps.contracts.reports import Frozen

Strategy: TypeAlias = Literal["ddp", "fsdp2"]


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
        " their gradients and their optimizer's state",
    )
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

    @property
    def world(self) -> int:
        """Processes of all machines."""
        return self.processes * self.nodes
