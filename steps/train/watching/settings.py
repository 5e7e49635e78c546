"""Settings of what is watched while a phase trains, and what ends it early; transformers' names where it has them."""

from typing import Self

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen


class WatchSettings(Frozen):
    """Samples, early stopping, the best checkpoint, divergence."""

    sample_steps: int | None = Field(
        None,
        ge=1,
        description="Optimizer steps between answers to sample_prompts, greedy ones; also before the first step and"
        " after the last. None: no samples.",
    )
    sample_prompts: tuple[str, ...] = Field(
        (), max_length=16, description="What is asked for samples: each a user's message by the chat template."
    )
    sample_tokens: int = Field(64, ge=1, le=2048, description="Tokens of a sample, at most.")
    early_stopping_patience: int | None = Field(
        None,
        ge=1,
        description="Validation losses in a row (every eval_steps) without a new lowest one that end training; None:"
        " never.",
    )
    early_stopping_threshold: float = Field(
        0.0, ge=0, description="By how much a validation loss must be lower than the lowest to count as a new one."
    )
    load_best_model_at_end: bool = Field(
        False, description="The model is the one with the lowest validation loss, and not that of the last step."
    )
    stop_at_divergence: bool = Field(
        True,
        description="Three points of the training loss in a row above three times the lowest, and 2 above it, end"
        " training with an error.",
    )

    @model_validator(mode="after")
    def _samples_have_prompts(self) -> Self:
        if self.sample_steps is not None and not self.sample_prompts:
            raise ValueError("sample_steps is set, but there are no sample_prompts")
        if self.sample_prompts and self.sample_steps is None:
            raise ValueError("sample_prompts are never asked without sample_steps")
        return self

    def needs_validation(self) -> list[str]:
        """Names of the settings that mean nothing without validation losses on the way."""
        named = {
            "early_stopping_patience": self.early_stopping_patience is not None,
            "load_best_model_at_end": self.load_best_model_at_end,
        }
        return [name for name, wanted in named.items() if wanted]
