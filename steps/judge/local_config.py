"""Settings of a model on this machine that judges."""

from typing import Literal, Self

from pydantic import Field, model_validator

from steps.contracts.models import registered_model
from steps.contracts.reports import Frozen


class LocalJudgeConfig(Frozen):
    """A model on this machine that is asked how it would rate."""

    model: str = Field(
        min_length=1,
        description="local folder with safetensors, hub id (owner/name), or a registered model: models:/NAME@champion,"
        " models:/NAME/3",
    )
    revision: str | None = Field(default=None, description="of a hub id: commit hash, branch or tag")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: bfloat16 where the processor multiplies it itself, else float32"
    )
    device: str = Field(default="auto", description="auto: cuda where there is one, else cpu; or torch's name of one")
    # They change the order of floating-point sums, so that a config names the number.
    num_threads: int = Field(default=2, ge=1, description="threads of torch on the CPU")
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="tokens of rows in one forward pass; None: 1,024 on a CPU (640 in 16 bits), 16,384 on a GPU",
    )

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if registered_model(self.model) and self.revision is not None:
            raise ValueError(f"revision is set, but {self.model} says which version: drop revision")
        return self
