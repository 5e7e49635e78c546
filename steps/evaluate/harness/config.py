"""Settings of tasks of lm-evaluation-harness."""

from typing import Self

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen

SUFFIXES = (".yaml", ".yml")
# What its tasks' names begin with in reports.
PREFIX = "lm_eval:"


class HarnessConfig(Frozen):
    """Tasks that EleutherAI's lm-evaluation-harness asks and grades, with its own prompts (extra lm-eval)."""

    tasks: tuple[str, ...] = Field(
        min_length=1,
        description="Names of its own tasks and groups, whose data it takes from the hub or its cache, or YAML files of"
        " tasks relative to the project root, whose data_files lie in their folder.",
    )
    num_fewshot: int | None = Field(None, ge=0, description="Examples before each question; null: as the task says.")
    limit: int | None = Field(None, ge=1, description="Questions per task at most, the first ones; null: all.")
    chat_template: bool = Field(False, description="Put the prompts into the model's chat template.")

    @property
    def files(self) -> tuple[str, ...]:
        """The YAML files among the tasks."""
        return tuple(t for t in self.tasks if t.endswith(SUFFIXES))

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError("a task is named twice")
        return self
