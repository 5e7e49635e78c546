"""Muon for the matrices of a small model: momentum whose singular values are all set to about one.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"
(https://kellerjordan.github.io/posts/muon/), with its five Newton-Schulz steps and coefficients. Matrices of one
shape are orthogonalized together in float32: on a CPU torch.optim.Muon, which takes them one by one in bfloat16,
costs half a forward and backward pass of a 1 M model.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch

_A, _B, _C = 3.4445, -4.7750, 2.0315
_STEPS = 5


class Muon(torch.optim.Optimizer):
    """`lr` is the spectral norm of an update (for a square matrix); momentum is Nesterov's."""

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Any]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[tuple(p.shape)].append(p)
            for shape, params in by_shape.items():
                updates = orthogonalized(torch.stack([self._momentum(p, group["momentum"]) for p in params]))
                # Taller than wide: the update's entries would shrink without this (same source).
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for p, update in zip(params, updates, strict=True):
                    p.add_(update, alpha=-group["lr"] * scale)

    def _momentum(self, p: Any, momentum: float) -> Any:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        buffer = state["momentum"].lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(buffer, momentum)


def orthogonalized(matrices: Any) -> Any:
    """Nearly the closest semi-orthogonal matrix to each: singular values 0.7 to 1.2. Shape (n, rows, columns)."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if tall else x
