"""Settings of a ready-made classifier in the judge's place."""

from typing import Literal, Self

from pydantic import Field, model_validator

from steps.engines.embed.text_classifier import ClassifierModel


class QualityClassifier(ClassifierModel):
    """A model that gives a text one number, such as its educational value, or a class its probability."""

    scale: tuple[float, float] = Field(
        (0.0, 5.0),
        description="the numbers that stand for 1 and 5 on the judge's scale: 0 to 5 for scorers of educational value,"
        " 0 to 1 for a class's probability; what lies outside is at the end",
    )
    part: Literal["all", "answer"] = Field("all", description="what of a row is read: everything, or the last answer")

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.scale[0] < self.scale[1]:
            raise ValueError("scale is the lower number and the higher one")
        return self
