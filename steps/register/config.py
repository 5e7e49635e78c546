"""Settings of the register stage."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from steps.contracts.reports import Frozen

# MLflow refuses these in the names of registered models and in model URIs.
_REFUSED = re.compile(r"[/:%\"'\\]|^\s|\s$|[\x00-\x1f]")


class RegisterConfig(Frozen):
    """Where a candidate is registered, and what its card says that no measurement can."""

    name: str = Field(min_length=1, max_length=200, description="Name of the registered model in MLflow.")
    tracking_uri: str | None = Field(
        None,
        description="MLflow tracking server (http://...) or database (sqlite:///...); null: the one in force"
        " (MLFLOW_TRACKING_URI, or what the stack's experiment tracker has set). Credentials belong in MLflow's own"
        " environment variables.",
    )
    experiment: str = Field(
        "assay", min_length=1, description="Experiment of the run that is started when none is active."
    )
    promotion: Literal["automatic", "manual"] = Field(
        "automatic",
        description="automatic: a candidate that passed the gate becomes champion. manual: it gets the alias candidate"
        " only, and a person moves the alias champion.",
    )
    approvals: int = Field(
        0,
        ge=0,
        description="With promotion manual: so many people must have approved a version (`assay approve`) before"
        " `assay promote` makes it champion.",
    )
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens per served answer; null: as many as the evaluation of the held-out rows allowed.",
    )
    extra_pip_requirements: tuple[str, ...] = Field(
        (), description="Requirements beside the ones that the served model needs anyway."
    )
    intended_use: str = Field("", description="What the model is for, as the model card says it.")
    limitations: tuple[str, ...] = Field((), description="Known limits, for the model card.")
    licence: str | None = Field(None, description="Licence of the model, for the model card; null: unknown.")

    @model_validator(mode="after")
    def _approved_by_whom(self) -> Self:
        if self.approvals and self.promotion == "automatic":
            raise ValueError("approvals: nobody is asked where promotion is automatic; set promotion: manual")
        return self

    @field_validator("name")
    @classmethod
    def _usable_name(cls, name: str) -> str:
        if _REFUSED.search(name):
            raise ValueError(f"{name!r}: MLflow allows no / : % quotes, backslash or control character in a model name")
        return name

    @field_validator("tracking_uri")
    @classmethod
    def _no_secret(cls, uri: str | None) -> str | None:
        if uri is not None and re.match(r"[a-z+]+://[^/@]*:[^/@]*@", uri):
            raise ValueError(
                "tracking_uri holds a password, and this configuration is logged: set MLFLOW_TRACKING_USERNAME and"
                " MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN) instead"
            )
        return uri
