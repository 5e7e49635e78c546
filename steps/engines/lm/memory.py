"""Memory of models: given back when they are done with, and its end explained."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from steps.contracts.errors import OutOfMemoryError


def release() -> None:
    """Collect models that only cycles hold (a Trainer and its model hold each other), and give back a GPU's memory.

    Call it where no variable names them any more.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def memory_explained(what: str, where: str, hint: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors into one that says what to lower.

    Args:
        what: device and settings, after "out of memory".
    """
    import torch

    try:
        yield
    except OutOfMemoryError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as e:
        raise OutOfMemoryError(f"out of memory {what}", where=where, hint=hint) from e
    except RuntimeError as e:
        # What the CPU's allocator says has no class of its own.
        if "DefaultCPUAllocator" not in str(e):
            raise
        raise OutOfMemoryError(f"out of memory {what}", where=where, hint=hint) from e
