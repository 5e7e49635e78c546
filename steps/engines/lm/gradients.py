"""Forward passes without gradients."""

from contextlib import AbstractContextManager
from typing import Any


def without_gradients(model: Any) -> AbstractContextManager[Any]:
    """torch's inference mode; for a model that is sharded (FSDP2) no_grad: it writes into tensors that it has put
    together before, which inference mode forbids.
    """
    import torch

    found: AbstractContextManager[Any] = torch.no_grad() if hasattr(model, "unshard") else torch.inference_mode()
    return found
