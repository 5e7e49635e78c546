"""Which executor: a choice of the machine, never of the numbers."""

from typing import Literal, Self

from pydantic import Field, model_validator

from steps.contracts.execution import Executor, Inline
from steps.contracts.reports import Frozen
from steps.engines.execution.threads import cores


class ExecutorConfig(Frozen):
    """Where row-wise work runs. The result is the same for any of them, and none is in a cache key."""

    kind: Literal["inline", "processes", "ray"] = Field(
        "inline", description="inline: in the step's own process; processes: of this machine; ray: Ray Data"
    )
    workers: int | None = Field(None, ge=1, le=4096, description="None: as many as this process may use cores")
    address: str | None = Field(
        None, description="of a Ray cluster that runs (auto: the one found by Ray); None: Ray starts and ends here"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "inline" and self.workers not in (None, 1):
            raise ValueError("kind inline is one worker: set kind to processes or ray")
        if self.address is not None and self.kind != "ray":
            raise ValueError("an address is for kind ray only")
        return self

    def executor(self) -> Executor:
        """The executor.

        Raises:
            MissingDependencyError: Ray isn't installed.
        """
        if self.kind == "inline":
            return Inline()
        workers = self.workers or cores()
        if self.kind == "ray":
            from steps.engines.execution.ray_data import RayData

            return RayData(workers, self.address)
        from steps.engines.execution.processes import Processes

        return Processes(workers)
