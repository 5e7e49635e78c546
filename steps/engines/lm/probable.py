"""The most probable tokens."""

from typing import Any


def most_probable(logits: Any) -> list[int]:
    """Of each row the first of the largest, [rows, vocabulary]. NumPy finds it several times as fast as torch."""
    import torch

    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return logits.numpy().argmax(-1).tolist()  # type: ignore[no-any-return]
    return logits.argmax(-1).tolist()  # type: ignore[no-any-return]
