"""Answers that are heard while they are made: several at once, each with its own room, chance and listener.

The model, the end tokens and the decoding are those of `generate`: at temperature 0 an answer has the tokens that an
evaluation gives it.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steps.engines.lm.asked import Asked
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.generate import answer_ids
from steps.engines.lm.load import LoadedModel


@dataclass(frozen=True)
class Live(Asked):
    """One prompt that is answered, greedily or by chance.

    Attributes:
        temperature: 0: the most probable token. Else one is drawn, from the smallest set of the most probable ones that
            has `top_p` of the probability, by `seed` (None: any).
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    @property
    def asked(self) -> Asked:
        """With its chance."""
        return replace(self, choose=_Chance([self]).choose) if self.temperature else self


def answer_live(
    loaded: LoadedModel,
    asked: Sequence[Live],
    *,
    decoding: DecodingConfig,
    ends: Sequence[int],
    more: Callable[[], Sequence[Live]] = lambda: (),
) -> None:
    """Answer them together, until each has ended, has had enough, or has no room.

    Args:
        more: asked before each token for others that are answered beside those under way. It isn't asked where the
            model's way of answering lets none join (`decodable`).
    """
    from steps.engines.lm.decoder import Decoder
    from steps.engines.lm.states import decodable

    if not decodable(loaded, decoding) or not all(one.ids for one in asked):
        _by_transformers(loaded, asked, decoding, ends)
        return
    decoder = Decoder(loaded, ends)
    decoder.join([one.asked for one in asked])
    while True:
        if joining := more():
            decoder.join([one.asked for one in joining])
        elif not decoder.rows:
            return
        decoder.step()


def _by_transformers(loaded: LoadedModel, asked: Sequence[Live], decoding: DecodingConfig, ends: Sequence[int]) -> None:
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
            self._done[i] = token in self._ends or self._enough(i, token)
            if self._done[i]:
                self._asked[i].end()
        return torch.tensor(self._done, device=input_ids.device)

    def _enough(self, i: int, token: int) -> bool:
        self._heard[i] += 1
        return self._asked[i].hear(token) or self._heard[i] >= self._asked[i].room


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

        return torch.stack([self._drawn(i, row) if self._asked[i].temperature else row for i, row in enumerate(scores)])

    def choose(self, scores: Any) -> int:
        """The next token of the only row. `scores`: [vocabulary]."""
        return int(self._drawn(0, scores).argmax())

    def _drawn(self, i: int, scores: Any) -> Any:
        import torch

        one = self._asked[i]
        logits = scores.float().cpu() / one.temperature
        noise = torch.rand(logits.shape, generator=self._chance[i]).clamp_min(torch.finfo(torch.float32).tiny)
        return (_nucleus(logits, one.top_p) - (-noise.log()).log()).to(scores)


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
