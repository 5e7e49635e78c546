"""How an answer is decoded: greedily, and nothing else unless it is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import Field

from steps.contracts.reports import Frozen
from steps.engines.lm.load import core_of


class DecodingConfig(Frozen):
    """What is done besides taking the most probable token, named as in transformers' GenerationConfig.

    Every default does nothing. What a model's own generation_config.json says of these is left aside, so that the
    subjects of a comparison are decoded alike.
    """

    repetition_penalty: float = Field(
        1.0, gt=0, description="Divides the score of tokens that stand in prompt or answer already. 1: not."
    )
    no_repeat_ngram_size: int = Field(
        0, ge=0, description="Runs of so many tokens stand at most once in prompt and answer. 0: no limit."
    )
    min_new_tokens: int = Field(0, ge=0, description="No answer ends before so many tokens. 0: it may be empty.")
    suppress_tokens: tuple[int, ...] = Field((), description="Token ids that are never said.")
    begin_suppress_tokens: tuple[int, ...] = Field((), description="Token ids that don't begin an answer.")

    def in_force(self) -> dict[str, Any]:
        """All that decides over the next token, as arguments of transformers' GenerationConfig and JSON values."""
        values = self.model_dump(mode="json")
        return {"do_sample": False, "num_beams": 1, **{k: v if v != [] else None for k, v in values.items()}}


@contextmanager
def without_own_decoding(model: Any) -> Iterator[None]:
    """The model's own generation_config is out of the way: transformers fills in from it what a given one leaves
    unset, among it penalties, forced and forbidden tokens.
    """
    from transformers import GenerationConfig

    core = core_of(model)
    own = core.generation_config
    core.generation_config = GenerationConfig()
    try:
        yield
    finally:
        core.generation_config = own
