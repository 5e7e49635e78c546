"""How much memory a training run needs, told before any weight is read.

bytes = weights + Adam's two float32 moments + the most of: activations at the end of the forward pass; all gradients,
with what the last layer still keeps; the validation pass. Weights and trainable weights are counted on torch's meta
device; what passes keep is counted on a small model of the same architecture (`memory_probe`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.contracts.errors import ConfigError
from steps.contracts.reports import Table
from steps.engines.lm.loss import LOGITS_BYTES
from steps.engines.lm.shapes import BATCH_TOKENS
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.settings import Plan
from steps.train.weights.registry import weights_of

if TYPE_CHECKING:
    from steps.train.memory_probe import Growth

# TRL 1.16's fused head works on tiles of logits (trl.kernels.chunked_logprob, trl.trainer.utils), and adds up the
# gradients of the hidden states, and of the head where that is trained, in float32.
_TILE_POSITIONS, _TILE_VOCAB = 4_096, 32_768
# Chosen: allocator fragmentation, cuBLAS workspaces, the CUDA context.
_OVERHEAD_SHARE = 0.10


@dataclass(frozen=True)
class Shape:
    """What the estimate needs to know of a model. `described`: its transformers configuration."""

    parameters: int
    trainable: int
    described: Any


@dataclass(frozen=True)
class Estimate:
    """Bytes per part; `available` is what the device has free (None: not known).

    Attributes:
        activations: at the peak of a step, when no gradient of a weight is there yet.
        remaining: activations that are left when nearly all gradients are there.
        validation: the validation pass.
        accumulates: gradients of the passes before are there in each forward pass.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    remaining: int
    validation: int
    accumulates: bool
    available: int | None = None

    @property
    def counted(self) -> int:
        """Bytes at the peak. Gradients come as activations go, so that these two are seldom there together."""
        early = self.activations + (self.gradients if self.accumulates else 0)
        return self.weights + self.optimizer + max(early, self.gradients + self.remaining, self.validation)

    @property
    def total(self) -> int:
        """Bytes at the peak, with a tenth for fragmentation."""
        return int(self.counted * (1 + _OVERHEAD_SHARE))

    @property
    def fits(self) -> bool:
        """Whether the total is within what is available (true when that isn't known)."""
        return self.available is None or self.total <= self.available

    def table(self) -> Table:
        """The parts in MiB. They aren't all there at once: the total is of the peak."""
        parts = ("weights", "gradients", "optimizer", "activations", "validation", "total", "available")
        values = [(p, getattr(self, p)) for p in parts]
        rows = tuple((p, None if v is None else round(v / 2**20, 1)) for p, v in values)
        return Table(title="Memory estimate", columns=("part", "MiB"), rows=rows)


def model_shape(folder: Path, config: TrainConfig) -> Shape:
    """Count weights from config.json on the meta device; nothing is allocated.

    Raises:
        ConfigError: the weights' options don't fit the model (no layer of that name).
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    described = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(described)
    parameters = sum(p.numel() for p in model.parameters())
    with torch.device("meta"):
        model = weights_of(config.weights).attached(model)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Shape(parameters, trainable, described)


def estimate(shape: Shape, config: TrainConfig, plan: Plan, available: int | None = None) -> Estimate:
    """Bytes at the peak of training, at the longest rows that max_length allows."""
    from steps.train.memory_probe import How, passes

    width = 4 if plan.dtype == "float32" else 2
    adapter = weights_of(config.weights).stored_as == "adapter"
    # Adam keeps two float32 moments per weight; Adafactor a row and a column per matrix (about a hundredth).
    moments = 0.04 if config.optim == "adafactor" else 8
    plain = plan.loss_kernel == "plain"
    found = passes(shape.described, config.weights, How(plan.dtype, plan.bf16, plan.gradient_checkpointing, plain))
    rows, length = _sequences(config), config.max_length
    return Estimate(
        weights=width * shape.parameters + (4 * shape.trainable if adapter else 0),
        gradients=(4 if adapter else width) * shape.trainable,
        optimizer=int(moments * shape.trainable),
        activations=found.step(rows, length) + (0 if plain else _fused_loss(shape, config)),
        remaining=int(found.end.peak(rows, length)),
        validation=_validation(shape, config, plan, found.forward),
        accumulates=config.gradient_accumulation_steps > 1,
        available=available,
    )


def _fused_loss(shape: Shape, config: TrainConfig) -> int:
    """A tile of logits and the gradients that are added up, in bytes."""
    text = shape.described.get_text_config()
    tokens = _sequences(config) * config.max_length
    tile = 4 * min(tokens, _TILE_POSITIONS) * min(text.vocab_size, _TILE_VOCAB)
    head = 4 * text.vocab_size * text.hidden_size if weights_of(config.weights).stored_as == "full" else 0
    return int(tile + 4 * tokens * text.hidden_size + head)


def _sequences(config: TrainConfig) -> int:
    """Sequences in a forward pass that keeps activations."""
    return config.per_device_train_batch_size * objective_of(config.objective).sequences_per_row


def _validation(shape: Shape, config: TrainConfig, plan: Plan, forward: "Growth") -> int:
    """Bytes of the largest batch of `token_losses`: the decoder's layers, then logits with their cross entropy, all of
    them, or in pieces beside the hidden states.
    """
    text, length = shape.described.get_text_config(), config.max_length
    rows = min(config.per_device_eval_batch_size, max(1, BATCH_TOKENS // length))
    logits = int(4 * rows * length * text.vocab_size)
    if logits <= LOGITS_BYTES:
        return max(int(forward.peak(rows, length)), 3 * logits)
    copies = 2.5 if plan.bf16 or plan.dtype == "bfloat16" else 2
    if getattr(text, "final_logit_softcapping", None):
        copies += 1
    return max(int(forward.peak(rows, length)), int(8 * rows * length * text.hidden_size + copies * LOGITS_BYTES))


def free_bytes(device: str) -> int | None:
    """Free memory of the GPU, or available RAM (MemAvailable of /proc/meminfo); None where it can't be told."""
    if device == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
        return int(free)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(found) * 1024 if found else None


def require_fit(shape: Shape, config: TrainConfig, plan: Plan, available: int | None) -> Estimate:
    """The estimate, or an error that names the smallest change that fits.

    Raises:
        ConfigError: the run doesn't fit into `available` bytes.
    """
    needed = estimate(shape, config, plan, available)
    if needed.fits or available is None:
        return needed
    raise ConfigError(
        f"training needs about {needed.total / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are free on {plan.device}",
        where="train",
        hint=smallest_change(shape, config, plan, available),
    )


def smallest_change(shape: Shape, config: TrainConfig, plan: Plan, available: int) -> str:
    """The first of these that fits: recompute activations, smaller batches, shorter rows, LoRA; in words."""

    def fits(changed: TrainConfig, how: Plan) -> bool:
        return estimate(shape, changed, how, available).fits

    if not plan.gradient_checkpointing:
        plan = _replace(plan, gradient_checkpointing=True)
        if fits(config, plan):
            return "set gradient_checkpointing: true"
    batch = config.per_device_train_batch_size
    while batch > 1:
        batch //= 2
        config = config.model_copy(update={"per_device_train_batch_size": batch})
        if fits(config, plan):
            return f"set gradient_checkpointing: true, per_device_train_batch_size: {batch} and raise" \
                   " gradient_accumulation_steps by the same factor"  # fmt: skip
    length = config.max_length
    while length > 256:
        length //= 2
        config = config.model_copy(update={"max_length": length})
        if fits(config, plan):
            return f"set gradient_checkpointing: true, per_device_train_batch_size: 1 and max_length: {length}"
    lighter = weights_of(config.weights).lighter
    if lighter is not None:
        return f"set {lighter}, or take a smaller model"
    if plan.dtype == "float32":
        return "set dtype: bfloat16, or take a smaller model"
    return "take a smaller model, or a device with more memory"


def _replace(plan: Plan, **changes: Any) -> Plan:
    import dataclasses

    return dataclasses.replace(plan, **changes)
