"""Negative log-likelihood of given tokens, summed per example."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from steps.contracts.errors import InputError
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.load import LoadedModel, core_of
from steps.engines.lm.probable import most_probable
from steps.engines.lm.shapes import BATCH_TOKENS, CPU_TOKENS, LOGITS_BYTES, by_budget
from steps.engines.progress.progress import Progress

if TYPE_CHECKING:
    import torch
    from transformers.cache_utils import Cache

    from steps.engines.lm.begun import BegunAnswers
    from steps.engines.lm.states import Layer

IGNORED = -100  # label of a token that is not counted (the convention of torch's cross entropy)


def token_losses(
    loaded: LoadedModel,
    examples: list[tuple[list[int], list[int]]],
    *,
    batch_size: int,
    batch_tokens: int = BATCH_TOKENS,
    begun: "BegunAnswers | None" = None,
    spans: Mapping[int, tuple[int, int]] | None = None,
    shared: bool = False,
) -> list[tuple[float, int]]:
    """(sum of negative log-likelihood in nats, counted tokens) per example, in the order of the examples.

    Args:
        examples: (input_ids, labels), equal in length; a label is its own input id, or IGNORED. The first token has
            no context and is never counted.
        batch_size: examples per forward pass at most; batches are formed by length.
        batch_tokens: tokens per forward pass, with padding, on a CPU at most CPU_TOKENS; a longer example is alone.
        begun: told of the answers in the examples of `spans`: in example i its tokens from spans[i][0] up to
            spans[i][1], all of them counted.
        shared: read what all examples begin with, a system prompt say, once; no gradients, no other processes.
    """
    spans = spans or {}
    if any(len(ids) != len(labels) for ids, labels in examples):
        raise InputError("input_ids and labels differ in length")
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i][0]), examples[i][0]))
    tokens = min(batch_tokens, CPU_TOKENS) if loaded.device == "cpu" else batch_tokens
    before = _Before.of(loaded, examples) if shared else _Before()
    if before.tokens:
        batch_size = max(1, min(batch_size, batch_tokens // len(examples[order[-1]][0])))
    losses: list[tuple[float, int]] = [(0.0, 0)] * len(examples)
    with Progress("loss", len(examples), "texts") as progress:
        own = [len(ids) - before.tokens for ids, _ in examples]
        for batch in by_budget(order, own, rows=batch_size, tokens=tokens):
            answers = {row: spans[i] for row, i in enumerate(batch) if i in spans}
            found = _batch_losses(loaded, [examples[i] for i in batch], before, begun, answers)
            for i, result in zip(batch, found, strict=True):
                losses[i] = result
            progress.advance(len(batch))
    return losses


@dataclass(frozen=True)
class _Before:
    """What all examples begin with: so many tokens, none of which says anything that is counted, and by layer their
    keys and values in one row.
    """

    tokens: int = 0
    layers: "Sequence[Layer]" = ()

    @classmethod
    def of(cls, loaded: LoadedModel, examples: Sequence[tuple[list[int], list[int]]]) -> Self:
        from steps.engines.lm.states import SHORTEST_PREFIX, common_prefix, decodable, read_prefix

        prefix = common_prefix([ids for ids, _ in examples]) if all(ids for ids, _ in examples) else []
        counted = (next((n for n, x in enumerate(labels) if n and x != IGNORED), None) for _, labels in examples)
        # The last token before one that is counted says it.
        prefix = prefix[: min((n - 1 for n in counted if n is not None), default=0)]
        if len(prefix) < SHORTEST_PREFIX or not decodable(loaded, DecodingConfig()):
            return cls()
        return cls(len(prefix), read_prefix(loaded, prefix))

    def cache(self, rows: int, width: int) -> "Cache":
        """For so many rows, to be read up to this width."""
        from transformers.cache_utils import Cache

        from steps.engines.lm.states import spread

        return Cache(layers=spread(self.layers, rows, width))


def _batch_losses(
    loaded: LoadedModel,
    batch: list[tuple[list[int], list[int]]],
    before: _Before,
    begun: "BegunAnswers | None",
    spans: Mapping[int, tuple[int, int]],
) -> list[tuple[float, int]]:
    """`spans`: by row of the batch."""
    import torch

    skipped, device = before.tokens, loaded.device
    width = max(len(ids) for ids, _ in batch)
    if width - skipped < 2:
        return [(0.0, 0)] * len(batch)
    ids = torch.tensor([i[skipped:] + [0] * (width - len(i)) for i, _ in batch], device=device)
    mask = torch.tensor([[1] * len(i) + [0] * (width - len(i)) for i, _ in batch], device=device)
    labels = torch.tensor([lab[skipped:] + [IGNORED] * (width - len(lab)) for _, lab in batch], device=device)[:, 1:]
    counted = labels != IGNORED
    sums = torch.zeros(labels.shape, dtype=torch.float64, device=device)
    read: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if skipped:
        positions = torch.arange(skipped, width, device=device)[None]
        read |= {"position_ids": positions, "past_key_values": before.cache(len(batch), width), "use_cache": True}
    elif begun is not None and begun.holds and spans:
        read |= {"past_key_values": _cache(loaded.model), "use_cache": True}
    nll: list[torch.Tensor] = []
    best: list[int] = []
    with without_gradients(loaded.model):
        for logits, wanted in _logits(loaded.model, read, counted, labels[counted]):
            nll.append(torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none"))
            if spans:
                best += most_probable(logits)
    sums[counted] = torch.cat(nll).double()
    if begun is not None and spans:
        said = torch.zeros_like(labels)
        said[counted] = torch.tensor(best, device=device)
        for row, (start, end) in spans.items():
            answer = said[row, start - skipped - 1 : end - skipped - 1].tolist()
            begun.add(batch[row][0], start, answer, read.get("past_key_values") if begun.holds else None, row)
    return list(zip(sums.sum(1).tolist(), counted.sum(1).tolist(), strict=True))


def _cache(model: Any) -> "Cache":
    from transformers.cache_utils import DynamicCache

    return DynamicCache(config=core_of(model).config)


def _logits(
    model: Any, read: Mapping[str, Any], counted: "torch.Tensor", labels: "torch.Tensor"
) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    """Logits (n, vocabulary) and labels (n,) of the counted positions, at most LOGITS_BYTES of them at once.

    Args:
        read: what the model is given, `input_ids` (rows, width) among it.
        counted: (rows, width - 1), by the token that is predicted. labels: those counted.
    """
    ids = read["input_ids"]
    core = core_of(model)
    body = core.base_model
    position_bytes = 4 * core.config.get_text_config().vocab_size
    few = 2 * len(labels) <= ids.numel() and len(labels) > 0
    if body is core or (ids.numel() * position_bytes <= LOGITS_BYTES and not few):
        yield model(**read).logits[:, :-1][counted], labels
        return
    size = max(1, LOGITS_BYTES // position_bytes)
    decode, below = body.forward, list[Any]()

    def keep(*args: Any, **kwargs: Any) -> Any:
        out = decode(*args, **kwargs)
        below.extend((out, out.last_hidden_state[:, :-1][counted]))
        return _with_states(out, below[1][:size])

    # The whole model is asked, never what lies below its head: of one that is spread over processes nothing else runs.
    with _standing_in(body, keep):
        logits = model(**read).logits[0]
    yield logits, labels[:size]
    out, hidden = below
    for start in range(size, len(hidden), size):
        said = _with_states(out, hidden[start : start + size])
        with _standing_in(body, lambda *_, said=said, **__: said):
            logits = model(input_ids=ids[:1, :1], use_cache=False).logits[0]
        yield logits, labels[start : start + size]


def _with_states(out: Any, hidden: "torch.Tensor") -> Any:
    """What a decoder said, with these last hidden states, (n, width of the model), of one text."""
    return type(out)(**{**out, "last_hidden_state": hidden[None]})


@contextmanager
def _standing_in(body: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """The decoder below the head says this. Families scale and cap their logits each in their way: their own code goes
    on from there.
    """
    own = vars(body).get("forward")
    body.forward = forward
    try:
        yield
    finally:
        del body.forward
        if own is not None:
            body.forward = own
