"""Answers that are heard while they are made: several at once, each with its own room, chance and listener.

The model, the padding, the end tokens and the decoding are those of `generate`: at temperature 0 an answer has the
tokens that an evaluation gives it.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.generate import answer_ids
from steps.engines.lm.load import LoadedModel


@dataclass(frozen=True)
class Live:
    """One prompt that is answered.

    Attributes:
        ids: its tokens.
        room: tokens that its answer may have, at least 1.
        hear: told of each token as it comes, but not of what ends the answer; returns whether it is enough.
        temperature: 0: the most probable token. Else one is drawn, from the smallest set of the most probable ones that
            has `top_p` of the probability, by `seed` (None: any).
    """

    ids: list[int]
    room: int
    hear: Callable[[int], bool]
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


def answer_live(loaded: LoadedModel, asked: Sequence[Live], *, decoding: DecodingConfig, ends: Sequence[int]) -> None:
    """Answer them in one left-padded batch, until each has ended, has had enough, or has no room."""
    from transformers import LogitsProcessorList, StoppingCriteriaList

    options = {**decoding.in_force(), "max_new_tokens": max(one.room for one in asked)}
    hooks: dict[str, Any] = {"stopping_criteria": StoppingCriteriaList([_Listening(asked, ends)])}
    if any(one.temperature for one in asked):
        hooks["logits_processor"] = LogitsProcessorList([_Chance(asked)])
    answer_ids(loaded, [one.ids for one in asked], options, list(ends), **hooks)


class _Listening:
    """A stopping criterion that passes on each row's newest token."""

    def __init__(self, asked: Sequence[Live], ends: Sequence[int]) -> None:
        self._asked, self._ends = asked, frozenset(ends)
        self._heard = [0] * len(asked)
        self._done = [False] * len(asked)

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Which rows are done. `input_ids`: [rows, tokens so far]."""
        import torch

        for i, token in enumerate(input_ids[:, -1].tolist()):
            if self._done[i]:
                continue
            if token in self._ends:
                self._done[i] = True
                continue
            self._heard[i] += 1
            enough = self._asked[i].hear(token)
            self._done[i] = enough or self._heard[i] >= self._asked[i].room
        return torch.tensor(self._done, device=input_ids.device)


class _Chance:
    """A logits processor that lets the largest score be a token drawn by chance: the logarithm of a probability plus
    Gumbel noise is largest for a token as often as its probability says (Gumbel 1954; "the Gumbel-max trick").

    A row's noise comes from its own seed, whatever other rows are answered with it.
    """

    def __init__(self, asked: Sequence[Live]) -> None:
        import torch

        self._asked = asked
        self._chance = [
            torch.Generator().manual_seed(secrets.randbits(63) if one.seed is None else one.seed) for one in asked
        ]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """`scores`: [rows, vocabulary]."""
        import torch

        drawn = scores.clone()
        for i, one in enumerate(self._asked):
            if not one.temperature:
                continue
            logits = scores[i].float().cpu() / one.temperature
            noise = torch.rand(logits.shape, generator=self._chance[i]).clamp_min(torch.finfo(torch.float32).tiny)
            drawn[i] = (_nucleus(logits, one.top_p) - (-noise.log()).log()).to(scores)
        return drawn


def _nucleus(logits: Any, top_p: float) -> Any:
    """The logits, of which all but the smallest set with `top_p` of the probability are ruled out."""
    import torch

    if top_p >= 1:
        return logits
    order = torch.argsort(logits, descending=True, stable=True)
    before = torch.softmax(logits[order], -1).cumsum(-1) - torch.softmax(logits[order], -1)
    kept = logits.clone()
    kept[order[before >= top_p]] = float("-inf")
    return kept
