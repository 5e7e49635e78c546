"""Settings of the export stage."""

from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from steps.contracts.reports import Frozen

FormatName: TypeAlias = Literal["adapter", "merged", "gguf", "onnx"]
RuntimeName: TypeAlias = Literal["mlflow", "server"]


class FormatConfig(Frozen):
    """One export, as `assay export MODEL --to` makes it."""

    to: FormatName = Field(description="How the model is written (docs/exports.md).")
    dtype: str = Field("auto", description="Number format of the weights, one of the format's own; auto: its choice.")
    epsilon: float | None = Field(
        None, ge=0, description="Logits between the trained model's two best tokens where the export may say the other;"
        " null: the number format's.",
    )  # fmt: skip
    most_differing: float | None = Field(
        None, ge=0, le=1, description="Share of the tokens that it may say otherwise, each within epsilon; null: the"
        " number format's.",
    )  # fmt: skip
    pre_tokenizer: str | None = Field(
        None, description="Of gguf: llama.cpp's name of the rule by which text is split, where it doesn't recognise it."
    )

    @property
    def name(self) -> str:
        """Its folder among the exports, and its line in the report."""
        return self.to if self.dtype == "auto" else f"{self.to}-{self.dtype}"

    @model_validator(mode="after")
    def _known(self) -> Self:
        from steps.engines.exports.formats import FORMATS

        known = FORMATS[self.to].epsilons
        if self.dtype != "auto" and self.dtype not in known:
            raise ValueError(f"{self.to} has no number format {self.dtype!r}: one of {', '.join(known)}")
        if self.pre_tokenizer is not None and self.to != "gguf":
            raise ValueError(f"pre_tokenizer is of gguf, this is {self.to}")
        return self


class ExportConfig(Frozen):
    """What is made of a model that the gate promoted, and held against it before anybody uses it."""

    formats: tuple[FormatConfig, ...] = Field((), description="Exports that are written, proven and kept.")
    runtimes: tuple[RuntimeName, ...] = Field(
        ("mlflow", "server"),
        description="What answers without files of its own, and is proven too. mlflow: the registered version, loaded"
        " by MLflow alone; server: `assay serve`, over HTTP.",
    )
    max_rows: int | None = Field(
        None,
        ge=1,
        description="Held-out rows at most that each of them is asked, chosen by hash as the evaluation chooses; null:"
        " all that were evaluated.",
    )
    # Chosen: room for an answer of some sentences.
    max_new_tokens: int = Field(48, ge=1, description="Tokens at most of the answers that are compared token by token.")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [f.name for f in self.formats]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        if not (self.formats or self.runtimes):
            raise ValueError("nothing is exported: name formats, or leave the stage out")
        return self
