"""Negative log-likelihood of given tokens, summed per example."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from steps.contracts.errors import InputError
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.load import LoadedModel, core_of
from steps.engines.lm.shapes import BATCH_TOKENS, by_budget
from steps.engines.progress.progress import Progress

if TYPE_CHECKING:
    import torch

IGNORED = -100  # label of a token that is not counted (the convention of torch's cross entropy)
# Chosen: float32 logits of at most so many bytes exist at once (of 523 positions at Llama 3's vocabulary), and twice as
# much for their cross entropy.
LOGITS_BYTES = 2**28


def token_losses(
    loaded: LoadedModel,
    examples: list[tuple[list[int], list[int]]],
    *,
    batch_size: int,
    batch_tokens: int = BATCH_TOKENS,
) -> list[tuple[float, int]]:
    """(sum of negative log-likelihood in nats, counted tokens) per example, in the order of the examples.

    Args:
        examples: (input_ids, labels), equal in length; a label is its own input id, or IGNORED. The first token has
            no context and is never counted.
        batch_size: examples per forward pass at most; batches are formed by length.
        batch_tokens: tokens per forward pass, with padding; a longer example is alone.
    """
    if any(len(ids) != len(labels) for ids, labels in examples):
        raise InputError("input_ids and labels differ in length")
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i][0]), examples[i][0]))
    losses: list[tuple[float, int]] = [(0.0, 0)] * len(examples)
    with Progress("loss", len(examples), "texts") as progress:
        for batch in by_budget(order, [len(ids) for ids, _ in examples], rows=batch_size, tokens=batch_tokens):
            for i, result in zip(batch, _batch_losses(loaded, [examples[i] for i in batch]), strict=True):
                losses[i] = result
            progress.advance(len(batch))
    return losses


def _batch_losses(loaded: LoadedModel, batch: list[tuple[list[int], list[int]]]) -> list[tuple[float, int]]:
    import torch

    width = max(len(ids) for ids, _ in batch)
    if width < 2:
        return [(0.0, 0)] * len(batch)
    ids = torch.tensor([i + [0] * (width - len(i)) for i, _ in batch], device=loaded.device)
    mask = torch.tensor([[1] * len(i) + [0] * (width - len(i)) for i, _ in batch], device=loaded.device)
    labels = torch.tensor([lab + [IGNORED] * (width - len(lab)) for _, lab in batch], device=loaded.device)[:, 1:]
    counted = labels != IGNORED
    sums = torch.zeros(labels.shape, dtype=torch.float64, device=loaded.device)
    with without_gradients(loaded.model):
        nll = [
            torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
            for logits, wanted in _logits(loaded.model, ids, mask, counted, labels[counted])
        ]
    sums[counted] = torch.cat(nll).double()
    return list(zip(sums.sum(1).tolist(), counted.sum(1).tolist(), strict=True))


def _logits(
    model: Any, ids: "torch.Tensor", mask: "torch.Tensor", counted: "torch.Tensor", labels: "torch.Tensor"
) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    """Logits (n, vocabulary) and labels (n,) of the counted positions, at most LOGITS_BYTES of them at once.

    Args:
        ids, mask: (rows, width). counted: (rows, width - 1), by the token that is predicted. labels: those counted.
    """
    core = core_of(model)
    body = core.base_model
    position_bytes = 4 * core.config.get_text_config().vocab_size
    if body is core or ids.numel() * position_bytes <= LOGITS_BYTES:
        yield model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1][counted], labels
        return
    out = body(input_ids=ids, attention_mask=mask, use_cache=False)
    hidden = out.last_hidden_state[:, :-1][counted]
    size = max(1, LOGITS_BYTES // position_bytes)
    for start in range(0, len(hidden), size):
        with _standing_in(body, out, hidden[start : start + size]):
            # The model's own forward goes on from there: families scale and cap their logits each in their way.
            logits = core(input_ids=ids[:1, :1], use_cache=False).logits[0]
        yield logits, labels[start : start + size]


@contextmanager
def _standing_in(body: Any, out: Any, hidden: "torch.Tensor") -> Iterator[None]:
    """The decoder below the head says these hidden states (n, width of the model), whatever it is given."""
    said = type(out)(**{**out, "last_hidden_state": hidden[None]})
    body.forward = lambda *_, **__: said
    try:
        yield
    finally:
        del body.forward
