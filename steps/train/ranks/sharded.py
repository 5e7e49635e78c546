"""FSDP2: each rank holds a share of every weight, its gradient and its optimizer state; a layer is put together when it
is used.

torch shards the model after the trainer is built; transformers' Trainer then leaves it as it is, as a model that was
sharded when it was loaded, but can't resume such a one. So each rank writes its own shares of what is trained into the
checkpoint, and reads them back. What lies in other files of a checkpoint is Trainer's.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from steps.contracts.storage import write_whole
from steps.engines.lm.load import core_of
from steps.train.settings import Plan

_SCHEDULER = "scheduler.json"


def shard(trainer: Any, plan: Plan, *, adapter: bool) -> None:
    """Shard the trainer's model over all ranks, block by block, and teach the trainer to checkpoint it.

    A trained adapter beside frozen weights stays whole on every rank: it is small, and may be in another precision than
    the weights of its block, which FSDP2 doesn't take; Trainer averages its gradients.
    """
    model = trainer.model
    mesh = init_device_mesh(plan.device, (trainer.args.world_size,))
    settings: dict[str, Any] = {"mesh": mesh}
    if adapter:
        settings["ignored_params"] = {p for p in model.parameters() if p.requires_grad}
    if plan.bf16 and plan.dtype == "float32":
        settings["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    blocks = set(getattr(core_of(model), "_no_split_modules", None) or ())
    for module in model.modules():
        if type(module).__name__ in blocks:
            fully_shard(module, **settings)
    fully_shard(model, **settings)
    kind = type(trainer)
    trainer.__class__ = type(f"Sharded{kind.__name__}", (_Sharded, kind), {})
    trainer.is_distributed_loading_by_transformers = True


def gather(model: Any, *, keep: bool) -> None:
    """Put all weights of a sharded model together on the CPU; what saves it then finds these. Tied ones are one tensor.

    Every rank must ask; without `keep` nothing is kept, so that one of them alone needs the room.
    """
    found: dict[str, torch.Tensor] = {}
    seen: dict[int, torch.Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            full = value.detach().full_tensor() if isinstance(value, DTensor) else value.detach()
            seen[id(value)] = full.cpu() if keep else torch.empty(0)
        found[name] = seen[id(value)]
    if keep:
        model.state_dict = lambda *_, **__: found


class _Sharded:
    """Over a trainer whose model is sharded."""

    args: Any
    model: Any
    optimizer: Any
    lr_scheduler: Any

    def evaluate(self, *given: Any, **named: Any) -> Any:
        """With the weights that are outside of blocks put together: the validation pass asks parts of the model."""
        with _put_together(self.model):
            return super().evaluate(*given, **named)  # type: ignore[misc]

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """This rank's shares of what is trained."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({n: _local(p).detach().contiguous() for n, p in self._trained()}, self._file(folder, "weights"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        stored = load_file(self._file(Path(resume_from_checkpoint), "weights"))
        with torch.no_grad():
            for name, weight in self._trained():
                _local(weight).copy_(stored[name])

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        state = {
            f"{name}/{what}": _local(value).contiguous()
            for name, weight in self._trained()
            for what, value in self.optimizer.state[weight].items()
        }
        save_file(state, self._file(Path(output_dir), "optimizer"))
        if self.args.should_save:
            # Numbers alone, which JSON gives back to the bit; the course of the rate comes from the settings.
            write_whole(Path(output_dir) / _SCHEDULER, json.dumps(self.lr_scheduler.state_dict()))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        stored = load_file(self._file(Path(checkpoint), "optimizer"))
        for name, weight in self._trained():
            state = {k.rpartition("/")[2]: v for k, v in stored.items() if k.rpartition("/")[0] == name}
            self.optimizer.state[weight] = {what: _like(weight, value) for what, value in state.items()}
        self.lr_scheduler.load_state_dict(json.loads((Path(checkpoint) / _SCHEDULER).read_text()))
        for group, rate in zip(self.optimizer.param_groups, self.lr_scheduler.get_last_lr(), strict=True):
            group["lr"] = rate

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[misc]
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _trained(self) -> Iterator[tuple[str, torch.Tensor]]:
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def _file(self, folder: Path, what: str) -> Path:
        return folder / f"{what}-{self.args.process_index}-of-{self.args.world_size}.safetensors"


@contextmanager
def _put_together(model: Any) -> Iterator[None]:
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


def _local(value: torch.Tensor) -> torch.Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def _like(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """An optimizer's state of a weight, sharded as that is; of numbers (its step) as it is."""
    if not isinstance(weight, DTensor) or value.dim() == 0:
        return value.to(_local(weight).device) if value.dim() else value
    local = value.to(weight.to_local().device)
    return DTensor.from_local(
        local, weight.device_mesh, weight.placements, run_check=False, shape=weight.shape, stride=weight.stride()
    )
