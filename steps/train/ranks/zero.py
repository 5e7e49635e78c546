"""DeepSpeed's ZeRO, through transformers' own integration: an engine wraps the model when training begins, and writes
and reads checkpoints.

What transformers leaves open: the validation loss is measured by the model itself, before there is an engine too; a
checkpoint is also read where no engine is made, since training is over; and the weights of stage 3 lie in shares, which
are put together before they are saved.
"""

import os
from typing import Any

import torch
from transformers import Trainer

from steps.contracts.errors import IntegrityError
from steps.train.settings import Plan


def begin(plan: Plan) -> None:
    """Bound what DeepSpeed reads, and let the ranks find each other on CPUs: accelerate knows them by their
    accelerators.
    """
    _read_tensors_only()
    if plan.device != "cpu":
        return
    from accelerate import PartialState

    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    PartialState(backend="gloo")


def _read_tensors_only() -> None:
    """DeepSpeed asks torch to unpickle whatever its checkpoints hold. torch is told to take tensors and plain values
    alone, and three classes of settings and places that DeepSpeed writes beside them.
    """
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    torch.serialization.add_safe_globals([LossScaler, ZeroStageEnum, fragment_address])


def by_engine(trainer: Any, plan: Plan) -> None:
    """Teach a trainer what it has to know of its engine."""
    kind = type(trainer)
    trainer.__class__ = type(f"Zero{kind.__name__}", (_Zero, kind), {})
    trainer.autocast = plan.bf16


class _Zero:
    """Over a trainer with a DeepSpeed engine."""

    args: Any
    model: Any
    deepspeed: Any
    autocast: bool

    def compute_loss_context_manager(self) -> Any:
        """Also of what the model measures outside of the engine, which computes in 16 bits by itself."""
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.autocast)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Nothing: the engine's checkpoint has the weights."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """The weights alone, from the shares of all ranks."""
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

        stored = get_fp32_state_dict_from_zero_checkpoint(resume_from_checkpoint, exclude_frozen_parameters=True)
        for name, weight in self.model.named_parameters():
            if not weight.requires_grad:
                continue
            if name not in stored:
                raise IntegrityError(f"the checkpoint lacks the weights {name}", where=resume_from_checkpoint)
            with whole([weight], changes=True), torch.no_grad():
                weight.copy_(stored[name])

    def _clip_grad_norm(self, model: Any) -> Any:
        return Trainer._clip_grad_norm(self, model)  # the engine's, for one process as well


def whole(weights: list[torch.nn.Parameter], *, changes: bool = False) -> Any:
    """Within, these weights are put together on every rank; `changes`: those of the first one hold afterwards."""
    from deepspeed.runtime.zero import GatheredParameters

    return GatheredParameters(weights, modifier_rank=0 if changes else None)


def put_together(model: torch.nn.Module, *, keep: bool) -> None:
    """Replace weights that lie in shares by whole ones on the CPU; tied ones stay tied. Every rank must ask; without
    `keep` nothing is kept, so that one of them alone needs the room.
    """
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is None or not hasattr(weight, "ds_id"):
                continue
            if id(weight) not in made:
                with whole([weight]):
                    value = weight.detach().to("cpu", copy=True) if keep else torch.empty(0)
                made[id(weight)] = torch.nn.Parameter(value, requires_grad=weight.requires_grad)
            module._parameters[name] = made[id(weight)]
