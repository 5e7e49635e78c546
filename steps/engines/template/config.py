"""Settings of the chat template: the same for training, for every generation, and in what is exported."""

import datetime
import re
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from steps.contracts.reports import Frozen

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NOT_FREE = ("messages", "tools", "documents", "add_generation_prompt")


class TemplateConfig(Frozen):
    """How rows become text. What differs from the model's own template is written into the template that is saved
    with the trained model, so that other programs render it the same.
    """

    thinking: Literal["as_is", "on", "off"] = Field(
        "as_is",
        description="as_is: the template's own default. on: the template's switch is on, and reasoning is written in"
        " think tags where it writes none. off: the switch is off, prompts that open a think block close it, and the"
        " rows' reasoning is left out.",
    )
    system: Literal["keep", "merge_into_user", "drop"] = Field(
        "keep",
        description="System messages. merge_into_user: before the text of the next user message, for templates that"
        " refuse or ignore them (Gemma 2). drop: left out.",
    )
    kwargs: dict[str, JsonValue] = Field(
        default_factory=dict, description="Further variables that the template reads, such as reasoning_effort: low."
    )
    override: str | None = Field(
        None, description="File of a Jinja template instead of the model's own, relative to the project root."
    )
    date: datetime.date | None = Field(
        None,
        description="Today, for templates that write it: a run must not depend on the day. None: 2024-07-26, which is"
        " what Llama 3.1's template says where it is told no date.",
    )
    reasoning_markers: tuple[tuple[str, str], ...] = Field(
        (),
        description="What opens and what closes reasoning in an answer. (): the usual ones that stand in the template"
        " (think tags, harmony channels ...).",
    )

    def files(self) -> tuple[str, ...]:
        """Files that the config names."""
        return (self.override,) if self.override else ()

    @field_validator("thinking", mode="before")
    @classmethod
    def _as_yaml_reads_it(cls, value: Any) -> Any:
        """YAML 1.1 reads a bare `on` or `off` as a boolean."""
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value

    @field_validator("kwargs")
    @classmethod
    def _free(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not _NAME.fullmatch(name) or name in _NOT_FREE:
                raise ValueError(f"{name!r} is no variable that can be set here")
        return value

    @field_validator("reasoning_markers")
    @classmethod
    def _both(cls, value: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        if any(not a.strip() or not b.strip() for a, b in value):
            raise ValueError("each marker is a pair of texts: [what opens reasoning, what closes it]")
        return value

    @model_validator(mode="after")
    def _one_switch(self) -> Self:
        twice = [n for n in ("enable_thinking", "thinking") if n in self.kwargs]
        if twice and self.thinking != "as_is":
            raise ValueError(f"thinking and kwargs.{twice[0]} say the same thing: keep one of them")
        return self
