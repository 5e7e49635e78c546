"""Options of distillation."""

from typing import Literal, Self

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen
from steps.train.asked import ModelSource


class Teacher(ModelSource):
    """The model whose distribution of next tokens is learnt."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.model is None) == (self.phase is None):
            raise ValueError("a teacher is one of model and phase")
        return self


class DistillOptions(Frozen):
    """On-policy distillation, by TRL's DistillationTrainer."""

    kind: Literal["distill"] = Field(
        "distill", description="On-policy distillation (arXiv 2306.13649): prompts and a teacher."
    )
    teacher: Teacher = Field(description="The model that is learnt from; its tokenizer must be the same.")
    divergence: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Generalised Jensen-Shannon divergence that is made small: 0 is forward KL (teacher from student),"
        " 1 reverse KL, which keeps to the teacher's likeliest answers, 0.5 lies between.",
    )
    max_completion_length: int = Field(256, ge=1, description="Tokens of an answer; the rest of max_length is prompt.")
    temperature: float = Field(1.0, gt=0, description="Of the answers, and of both distributions that are compared.")
    top_p: float = Field(1.0, gt=0, le=1, description="Of the answers.")
    watch_rows: int = Field(64, ge=1, description="Validation prompts that are answered each time.")
