"""Settings of the split stage."""

from typing import Literal, Self

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen


class SplitConfig(Frozen):
    """How rows are divided into train, validation and test. Train gets what the other two leave."""

    # 5 % each: chosen; of 20,000 rows that is 1,000 test rows, a 95 % interval of at most +-3.1 points on a rate.
    validation: float = Field(0.05, ge=0.0, lt=1.0, description="Share of rows for validation, 0 to 1.")
    test: float = Field(0.05, ge=0.0, lt=1.0, description="Share of rows for test, 0 to 1.")
    salt: str = Field("assay", min_length=1, description="Another salt gives another, independent split.")
    group_by: Literal["prompt", "content", "parent"] = Field(
        "prompt",
        description=(
            "What must not be torn apart. prompt: rows whose user asks the same before the first answer (documents: "
            "equal content). parent: rows made from the same first parent, such as chunks of one file (rows without "
            "parents: equal content). content: equal content only."
        ),
    )

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.validation + self.test >= 1.0:
            raise ValueError(
                f"validation ({self.validation:g}) and test ({self.test:g}) leave nothing for train;"
                " their sum must be below 1"
            )
        return self
