"""transformers' training loop without its walks over all modules at every step.

Measured with LoRA on a Llama of 2 layers, where there is little else: train() on a model that is in that mode,
parameters counted anew for the operations of a step, and all weights listed to clip those of an adapter took a third of
what the loop costs beside the passes. What is computed stays the same, bit for bit.
"""

from typing import Any

import torch
from transformers import Trainer


class LightLoop(Trainer):
    """Over a trainer whose set of trained weights stays as it is once training has begun."""

    _trained: list[torch.nn.Parameter] | None = None
    _counted: int | None = None

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass."""
        # DDP's wrapper says that it trains while the model in it is still as it was loaded, in evaluation.
        if not (model.training and self.model.training):
            return super().training_step(model, inputs, num_items_in_batch)
        # All modules follow the outermost one: whoever evaluates switches all of them, and back.
        model.__dict__["train"] = lambda mode=True: model
        try:
            return super().training_step(model, inputs, num_items_in_batch)
        finally:
            del model.__dict__["train"]

    def floating_point_ops(self, inputs: Any) -> int:
        """As the model says it: six per weight (embeddings left out) and token, padding included."""
        if self._counted is None:
            self._counted = int(self.model.num_parameters(exclude_embeddings=True))
        tokens = inputs.get(getattr(self.model, "main_input_name", "input_ids"))
        return 0 if tokens is None else 6 * self._counted * int(tokens.numel())

    def _clip_grad_norm(self, model: Any) -> Any:
        if self.accelerator.scaler is not None or self.args.world_size > 1:
            return super()._clip_grad_norm(model)
        if self._trained is None:
            self._trained = [p for p in model.parameters() if p.requires_grad]
        return torch.nn.utils.clip_grad_norm_(self._trained, self.args.max_grad_norm)
