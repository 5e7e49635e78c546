"""How much memory a training run needs, told before any weight is read.

bytes = weights + gradients + Adam's two float32 moments + activations. Weights and trainable weights are counted on
torch's meta device; activations follow what autograd saves in a Llama-like decoder (checked against a count of the
saved tensors in the tests).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.contracts.errors import ConfigError
from steps.contracts.reports import Table
from steps.train.config import TrainConfig
from steps.train.settings import Plan
from steps.train.weights.registry import weights_of

# Saved bytes per token and layer: attention and norms per hidden unit, MLP per intermediate unit. Measured with
# torch.autograd.graph.saved_tensors_hooks over Llama layers, sdpa, no checkpointing, intermediate = 2.5 hidden.
_ATTENTION_FP32, _MLP_FP32 = 41, 16
_ATTENTION_BF16, _MLP_BF16 = 43, 8
# With dropout an adapter saves its own copy and mask of every layer's input (q, k, v, o, gate, up: hidden; down:
# intermediate); measured likewise.
_DROPOUT_FP32, _DROPOUT_BF16 = 5.5, 3.8
# Saved bytes per token and vocabulary entry for full logits and their loss.
_LOGITS = 5.5
# TRL 1.16's fused head works on tiles of logits (trl.kernels.chunked_logprob, trl.trainer.utils), and adds up the
# gradients of the hidden states, and of the head where that is trained, in float32.
_TILE_POSITIONS, _TILE_VOCAB = 4_096, 32_768
# Chosen: allocator fragmentation, cuBLAS workspaces, the CUDA context.
_OVERHEAD_SHARE = 0.10


@dataclass(frozen=True)
class Shape:
    """What the estimate needs to know of a model."""

    parameters: int
    trainable: int
    hidden: int
    intermediate: int
    layers: int
    vocab: int


@dataclass(frozen=True)
class Estimate:
    """Bytes per part; `available` is what the device has free (None: not known)."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    available: int | None = None

    @property
    def total(self) -> int:
        """Sum of the parts, with a tenth for fragmentation."""
        return int((self.weights + self.gradients + self.optimizer + self.activations) * (1 + _OVERHEAD_SHARE))

    @property
    def fits(self) -> bool:
        """Whether the total is within what is available (true when that isn't known)."""
        return self.available is None or self.total <= self.available

    def table(self) -> Table:
        """The parts in MiB."""
        parts = ("weights", "gradients", "optimizer", "activations", "total", "available")
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
    text = described.get_text_config()
    return Shape(
        parameters=parameters,
        trainable=trainable,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        layers=text.num_hidden_layers,
        vocab=text.vocab_size,
    )


def estimate(shape: Shape, config: TrainConfig, plan: Plan, available: int | None = None) -> Estimate:
    """Bytes at the peak of a training step, at the longest rows that max_length allows."""
    width = 4 if plan.dtype == "float32" else 2
    adapter = weights_of(config.weights).stored_as == "adapter"
    adapter_bytes = 4 * shape.trainable if adapter else 0
    # Adam keeps two float32 moments per weight; Adafactor a row and a column per matrix (about a hundredth).
    moments = 0.04 if config.optim == "adafactor" else 8
    return Estimate(
        weights=width * shape.parameters + adapter_bytes,
        gradients=(4 if adapter else width) * shape.trainable,
        optimizer=int(moments * shape.trainable),
        activations=_activations(shape, config, plan),
        available=available,
    )


def _activations(shape: Shape, config: TrainConfig, plan: Plan) -> int:
    tokens = config.per_device_train_batch_size * config.max_length
    half = plan.bf16 or plan.dtype == "bfloat16"
    per_layer: float = (
        _ATTENTION_BF16 * shape.hidden + _MLP_BF16 * shape.intermediate
        if half
        else _ATTENTION_FP32 * shape.hidden + _MLP_FP32 * shape.intermediate
    )
    if weights_of(config.weights).copies_inputs:
        per_layer += (_DROPOUT_BF16 if half else _DROPOUT_FP32) * (6 * shape.hidden + shape.intermediate)
    if plan.gradient_checkpointing:
        layers = shape.layers * (2 if half else 4) * shape.hidden + per_layer
    else:
        layers = shape.layers * per_layer
    return int(tokens * layers + _loss_bytes(shape, config, plan, tokens))


def _loss_bytes(shape: Shape, config: TrainConfig, plan: Plan, tokens: int) -> float:
    if plan.loss_kernel == "plain":
        return tokens * _LOGITS * shape.vocab
    tile = 4 * min(tokens, _TILE_POSITIONS) * min(shape.vocab, _TILE_VOCAB)
    head = 4 * shape.vocab * shape.hidden if weights_of(config.weights).stored_as == "full" else 0
    return tile + 4 * tokens * shape.hidden + head


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
