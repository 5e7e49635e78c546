"""Stochastic rounding of weights in bfloat16: an update below their precision moves them with its probability.

A bfloat16 has 8 significant bits: an update of less than 1/512 of a weight is lost when it is rounded to the nearest
number (Gupta et al. 2015, arXiv 1502.02551; for language models Zamirai et al. 2020, arXiv 2010.06192). bitsandbytes
rounds so. Here it updates a float32 copy of one tensor at a time.
"""

from typing import Any

import torch

# Bits of a float32 that a bfloat16 doesn't have.
_LOST_BITS = 16


def stochastically_rounded(exact: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """float32 as bfloat16: one of the two neighbours, the nearer one with the higher probability, so that the mean is
    the number itself. What isn't finite stays as it is.
    """
    noise = torch.randint(
        0, 1 << _LOST_BITS, exact.shape, generator=generator, device=exact.device, dtype=torch.int32
    )  # fmt: skip
    cut = (exact.view(torch.int32) + noise) & -(1 << _LOST_BITS)
    return torch.where(exact.isfinite(), cut.view(torch.float32), exact).to(torch.bfloat16)


def round_stochastically(trainer: Any, seed: int) -> None:
    """Have a transformers Trainer with an optimizer of bitsandbytes round updates of bfloat16 weights by chance."""
    kind, options = trainer.get_optimizer_cls_and_kwargs(trainer.args, trainer.model)
    trainer.optimizer_cls_and_kwargs = (_rounding(kind, seed), options)


def _rounding(kind: Any, seed: int) -> Any:
    """A class of optimizers of bitsandbytes, with updates of bfloat16 weights in float32. What is drawn depends on the
    seed, the step and the tensor's place alone, so that a resumed run draws the same.
    """

    class Rounding(kind):  # type: ignore[misc]
        def update_step(self, group: Any, p: Any, gindex: int, pindex: int) -> None:
            if p.dtype != torch.bfloat16:
                super().update_step(group, p, gindex, pindex)
                return
            rounded, gradient = p.data, p.grad
            p.grad, p.data = None, rounded.float()
            p.grad = gradient.float()
            super().update_step(group, p, gindex, pindex)
            step = int(self.state[p]["step"])
            draw = torch.Generator(p.device).manual_seed(hash((seed, step, gindex, pindex)) % 2**63)
            rounded.copy_(stochastically_rounded(p.data, draw))
            p.grad, p.data = None, rounded
            p.grad = gradient

    # transformers tells bitsandbytes' optimizers by the name: it has them keep embeddings' moments in 32 bits.
    Rounding.__module__, Rounding.__qualname__ = kind.__module__, f"Rounding{kind.__qualname__}"
    return Rounding
