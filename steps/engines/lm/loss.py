"""Negative log-likelihood of given tokens, summed per example."""

from steps.contracts.errors import InputError
from steps.engines.lm.load import LoadedModel
from steps.engines.progress.progress import Progress

IGNORED = -100  # label of a token that is not counted (the convention of torch's cross entropy)


def token_losses(
    loaded: LoadedModel, examples: list[tuple[list[int], list[int]]], *, batch_size: int
) -> list[tuple[float, int]]:
    """(sum of negative log-likelihood in nats, counted tokens) per example, in the order of the examples.

    Args:
        examples: (input_ids, labels), equal in length; a label is its own input id, or IGNORED. The first token has
            no context and is never counted.
        batch_size: examples per forward pass; batches are formed by length.
    """
    if any(len(ids) != len(labels) for ids, labels in examples):
        raise InputError("input_ids and labels differ in length")
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i][0]), examples[i][0]))
    losses: list[tuple[float, int]] = [(0.0, 0)] * len(examples)
    with Progress("loss", len(examples), "texts") as progress:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
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
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        # Only counted positions are turned to float32: with a large vocabulary the logits are the peak of memory.
        nll = torch.nn.functional.cross_entropy(logits[counted].float(), labels[counted], reduction="none")
    sums = torch.zeros(labels.shape, dtype=torch.float64, device=loaded.device)
    sums[counted] = nll.double()
    return list(zip(sums.sum(1).tolist(), counted.sum(1).tolist(), strict=True))
