"""Settings of what answers in place of transformers."""

from typing import Literal

from pydantic import Field

from steps.contracts.reports import Frozen


class EngineConfig(Frozen):
    """A model's GGUF export in llama.cpp: what is measured is what will be served (extra gguf, `make llama-cpp`)."""

    dtype: Literal["f32", "f16", "bf16", "q8_0", "q4_k_m"] = Field("f16", description="Number format of the export.")
    parallel: int = Field(
        1,
        ge=1,
        description="Answers at once; above 1 sums depend on what is answered together, and near ties may fall"
        " otherwise from run to run.",
    )
