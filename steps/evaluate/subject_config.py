"""Settings of what is evaluated beside the base and what was trained: the same models, asked better."""

from itertools import product
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from steps.contracts.evaluation import SubjectName
from steps.engines.completions.config import EngineConfig
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices
from steps.engines.retrieval.config import RetrievalConfig

# What may be a list, of which the best is taken on the validation split.
_CHOICES = ("system", "shots", "top_k", "shots_by")


class SubjectConfig(Prices):
    """A model of this run, or one behind a server, asked with instructions, worked examples or passages.

    A list in `system`, `shots`, `shots_by` or `top_k` is tried, every combination once, on rows of the validation
    split; the test split sees the best alone.
    """

    name: SubjectName = Field(description="Its name in reports; base, champion and the phases' names are taken.")
    model: SubjectName = Field(
        "base", description="Who is asked: base, champion, or what a phase makes: tuned, or tuned_<phase>."
    )
    endpoint: Endpoint | None = Field(
        None, description="A model behind an OpenAI-compatible server is asked instead of `model`."
    )
    engine: EngineConfig | None = Field(
        None, description="Its export answers in its place; null: as everybody is answered for."
    )
    allow_raw_egress: bool = Field(
        False, description="Let rows that were not scrubbed, and documents, go to an endpoint on another machine."
    )
    system: str | tuple[str, ...] = Field("", description="Instructions before everything else.")
    shots: int | tuple[int, ...] = Field(0, description="Worked examples before each question, from the train split.")
    shots_by: Literal["hash", "similar"] | tuple[Literal["hash", "similar"], ...] = Field(
        "hash", description="hash: the same ones before every question; similar: those that share most words with it."
    )
    retrieval: RetrievalConfig | None = Field(None, description="What passages are looked up in; null: none are.")
    top_k: int | tuple[int, ...] = Field(3, description="Passages before each question.")
    passages_as: str = Field(
        "Use what helps of these passages.\n\n{passages}\n\n{question}",
        description="How passages and question are put together; both places must be there.",
    )
    answer_after: str = Field(
        "", description='The answer is what follows the last of these words, as "Answer:" after a chain of thought.'
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="Tokens per answer, where it is thought aloud; null: by the reference, as the others."
    )
    # Chosen: as many as a person would try by hand; training's own choices get the phase's settings, once.
    max_tries: int = Field(8, ge=1, le=100, description="Combinations of lists that may be tried.")
    # Chosen: with 100 rows the standard error of a share is at most 5 points.
    tried_on: int = Field(100, ge=10, description="Rows of the validation split that each is tried on, by hash.")

    @property
    def tries(self) -> tuple[dict[str, Any], ...]:
        """What is tried: one set of values each; a single one needs no trying."""
        lists = [v if isinstance(v, tuple) else (v,) for v in (getattr(self, name) for name in _CHOICES)]
        return tuple(dict(zip(_CHOICES, values, strict=True)) for values in product(*lists))

    def of(self, values: dict[str, Any]) -> Self:
        """The settings with these values in place of lists."""
        return self.model_copy(update=values)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not all(self.passages_as.count(place) == 1 for place in ("{passages}", "{question}")):
            raise ValueError("passages_as needs {passages} and {question}, once each")
        for name in ("shots", "top_k"):
            value = getattr(self, name)
            if any(v < 0 for v in (value if isinstance(value, tuple) else (value,))):
                raise ValueError(f"{name} is a number of {'examples' if name == 'shots' else 'passages'}: at least 0")
        if () in (getattr(self, name) for name in _CHOICES):
            raise ValueError("an empty list leaves nothing to try")
        if len(self.tries) > self.max_tries:
            raise ValueError(f"{len(self.tries)} combinations to try, max_tries is {self.max_tries}")
        if self.endpoint is None and self.price_per_million_input is not None:
            raise ValueError("prices are of an endpoint, and there is none")
        if self.endpoint is not None and self.max_new_tokens is not None:
            raise ValueError("an endpoint's room for answers is endpoint.max_tokens")
        if self.endpoint is not None and self.engine is not None:
            raise ValueError("an endpoint answers, or an export: not both")
        if not any((self.endpoint, self.engine, self.system, self.shots, self.retrieval, self.answer_after)):
            raise ValueError("it is asked like the model itself: say system, shots, retrieval or engine")
        return self
