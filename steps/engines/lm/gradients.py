"""Forward passes without gradients."""

from contextlib import AbstractContextManager
from itertools import islice
from typing import Any


def without_gradients(model: Any) -> AbstractContextManager[Any]:
    """torch's inference mode; for a model whose weights lie in shares (FSDP2, ZeRO) no_grad: what it puts together it
    writes into later, or trains with, which inference mode forbids.
    """
    import torch

    shared = hasattr(model, "unshard") or any(hasattr(p, "ds_id") for p in islice(model.parameters(), 1))
    found: AbstractContextManager[Any] = torch.no_grad() if shared else torch.inference_mode()
    return found
