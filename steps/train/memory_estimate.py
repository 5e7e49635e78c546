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
from steps.engines.lm.shapes import BATCH_TOKENS, LOGITS_BYTES
from steps.train.asked import asked_dtype
from steps.train.config import TrainConfig
from steps.train.objectives.registry import objective_of
from steps.train.planning.ladder import smallest_that
from steps.train.settings import OPTIMIZER_BYTES, Plan
from steps.train.weights.registry import weights_of

if TYPE_CHECKING:
    from steps.train.memory_probe import Growth

# TRL 1.16's fused head works on tiles of logits (trl.kernels.chunked_logprob, trl.trainer.utils), and adds up the
# gradients of the hidden states, and of the head where that is trained, in float32.
_TILE_POSITIONS, _TILE_VOCAB = 4_096, 32_768
# What transformers' configs call the number of experts of a layer.
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
# Chosen: allocator fragmentation, cuBLAS workspaces, the CUDA context.
_OVERHEAD_SHARE = 0.10


@dataclass(frozen=True)
class Shape:
    """What the estimates need to know of a model.

    Attributes:
        described: its transformers configuration.
        multiplied: weights that a token is multiplied with on its way through: of experts those that it is sent to, of
            embeddings none, of the head all.
        packed, packed_bytes: weights that are held in fewer bits, and what they take.
        embedded: of the trained weights those of embeddings.
        asked: weights of the other models that the objective asks.
    """

    parameters: int
    trainable: int
    described: Any
    multiplied: int = 0
    packed: int = 0
    packed_bytes: int = 0
    embedded: int = 0
    asked: int = 0


@dataclass(frozen=True)
class Estimate:
    """Bytes per part; `available` is what the device has free (None: not known).

    Attributes:
        activations: at the peak of a step, when no gradient of a weight is there yet.
        remaining: activations that are left when nearly all gradients are there.
        validation: the validation pass.
        reference: the weights of a model that stays beside the trained one.
        asked: the weights of reward models and teachers.
        answers: generating answers between steps.
        loading: the weights before they are shared between processes.
        accumulates: gradients of the passes before are there in each forward pass.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    remaining: int
    validation: int
    accumulates: bool
    reference: int = 0
    asked: int = 0
    answers: int = 0
    loading: int = 0
    available: int | None = None

    @property
    def counted(self) -> int:
        """Bytes at the peak. Gradients come as activations go, so that these two are seldom there together."""
        early = self.activations + (self.gradients if self.accumulates else 0)
        step = max(early, self.gradients + self.remaining, self.validation, self.answers)
        return max(self.loading, self.weights + self.reference + self.asked + self.optimizer + step)

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
        parts = (
            "weights",
            *(name for name in ("reference", "asked") if getattr(self, name)),
            "gradients",
            "optimizer",
            "activations",
            "validation",
            "total",
            "available",
        )
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
    return shape_of(model, config)


def shape_of(model: Any, config: TrainConfig) -> Shape:
    """The same of a model on the meta device, to which what is trained is attached."""
    import torch

    kind, described = weights_of(config.weights), model.config
    parameters, multiplied = sum(p.numel() for p in model.parameters()), _multiplied(model)
    packed, packed_bytes = kind.packed(model)
    with torch.device("meta"):
        model = kind.attached(model)
    trained = {id(p): p.numel() for p in model.parameters() if p.requires_grad}
    tables = [p for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()]
    embedded = sum({id(p): trained.get(id(p), 0) for p in tables}.values())
    return Shape(parameters, sum(trained.values()), described, multiplied, packed, packed_bytes, embedded)


def _multiplied(model: Any) -> int:
    text = model.config.get_text_config()
    chosen = getattr(text, "num_experts_per_tok", None) or 1
    experts = next((n for name in EXPERTS if (n := getattr(text, name, None))), chosen)
    looked_up, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    tied = head is not None and head.weight is looked_up
    found = 0.0
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and (weight is not looked_up or tied):
            found += weight.numel() * (chosen / experts if ".experts." in name else 1)
    return int(found)


def estimate(shape: Shape, config: TrainConfig, plan: Plan, available: int | None = None) -> Estimate:
    """Bytes at the peak of training, at the longest rows that max_length allows."""
    from steps.train.memory_probe import How, answering, passes

    width = 4 if plan.dtype == "float32" else 2
    objective = objective_of(config.objective)
    demand = objective.demand(config)
    adapter = weights_of(config.weights).stored_as == "adapter"
    plain = plan.loss_kernel == "plain"
    found = passes(
        shape.described, config.weights, How(plan.dtype, plan.bf16 or plan.fp16, plan.gradient_checkpointing, plain)
    )
    kept = weights_of(config.weights).keeping(found.layers)
    rows, length = objective.sequences_per_row * config.per_device_train_batch_size, config.max_length
    still = width * (shape.parameters - shape.packed) + shape.packed_bytes
    beside = 4 * shape.trainable if adapter else 0
    whole = still + beside
    # Sharded, each process holds its part, and of two layers all: the one that computes and the one that comes next.
    shards, of_gradients, of_optimizer = (
        plan.processes if plan.strategy == "fsdp2" or plan.zero_stage >= stage else 1 for stage in (3, 2, 1)
    )
    gathered = 2 * still // max(shape.described.get_text_config().num_hidden_layers, 1) if shards > 1 else 0
    on_card = plan.device != "cpu"
    return Estimate(
        weights=(0 if plan.offload == "all" and on_card else whole // shards) + gathered,
        loading=whole,
        reference=still if demand.reference == "copy" and not weights_of(config.weights).keeps_start else 0,
        asked=(4 if asked_dtype(plan) == "float32" else 2) * shape.asked,
        answers=answering(shape.described, plan.dtype).peak(*demand.answers) if demand.answers else 0,
        # DDP adds gradients up in buckets of its own (torch's documentation of gradient_as_bucket_view).
        gradients=(2 if plan.strategy == "ddp" else 1) * (4 if adapter else width) * shape.trainable // of_gradients,
        optimizer=0 if plan.offload != "none" and on_card else optimizer_bytes(config, shape) // of_optimizer,
        activations=found.step(rows, length, kept) + (0 if plain else _fused_loss(shape, config, rows * length)),
        remaining=int(found.end.peak(rows, length)),
        validation=_validation(shape, config, plan, found.forward),
        accumulates=config.gradient_accumulation_steps > plan.processes,
        available=available,
    )


def optimizer_bytes(config: TrainConfig, shape: Shape) -> int:
    """Of an optimizer's state. transformers 5 keeps that of embeddings in 32 bits, where others' is in 8."""
    narrow, exact = OPTIMIZER_BYTES[config.optim], 0.0
    if config.optim.endswith("_8bit"):
        exact = 4.0 if config.optim.startswith("lion") else 8.0
    embedded = shape.embedded if exact else 0
    return int(narrow * (shape.trainable - embedded) + exact * embedded)


def _fused_loss(shape: Shape, config: TrainConfig, tokens: int) -> int:
    """A tile of logits and the gradients that are added up, in bytes."""
    text = shape.described.get_text_config()
    tile = 4 * min(tokens, _TILE_POSITIONS) * min(text.vocab_size, _TILE_VOCAB)
    head = 4 * text.vocab_size * text.hidden_size if weights_of(config.weights).stored_as == "full" else 0
    return int(tile + 4 * tokens * text.hidden_size + head)


def _validation(shape: Shape, config: TrainConfig, plan: Plan, forward: "Growth") -> int:
    """Bytes of the largest batch of the validation loss."""
    length = config.max_length
    rows = min(config.per_device_eval_batch_size, max(1, BATCH_TOKENS // length))
    copies = 2.5 if plan.bf16 or plan.fp16 or plan.dtype == "bfloat16" else 2
    return _losses(shape.described.get_text_config(), rows, length, forward, copies)


def _losses(text: Any, rows: int, length: int, forward: "Growth", copies: float) -> int:
    """Bytes of the largest batch of `token_losses`: the decoder's layers, then logits with their cross entropy, all of
    them, or in pieces beside the hidden states. `copies`: of such a piece.
    """
    logits = int(4 * rows * length * text.vocab_size)
    if logits <= LOGITS_BYTES:
        return max(int(forward.peak(rows, length)), 3 * logits)
    if getattr(text, "final_logit_softcapping", None):
        copies += 1
    return max(int(forward.peak(rows, length)), int(8 * rows * length * text.hidden_size + copies * LOGITS_BYTES))


@dataclass(frozen=True)
class Measuring:
    """Bytes that evaluating a model takes: its weights, and the larger of answering and of losses."""

    weights: int
    answers: int
    losses: int

    @property
    def total(self) -> int:
        """Bytes at the peak, with a tenth for fragmentation."""
        return int((self.weights + max(self.answers, self.losses)) * (1 + _OVERHEAD_SHARE))


def measuring(shape: Shape, *, dtype: str, rows: int, tokens: int, length: int, answer: int) -> Measuring:
    """What evaluating takes, at the longest rows; an adapter is merged into the weights.

    Args:
        rows, tokens: of a batch at most. length: tokens of a row, the answer's among them. answer: tokens of an answer.
    """
    from steps.train.memory_probe import How, answering, passes
    from steps.train.weights.full import FullOptions

    rows = max(1, min(rows, tokens // length))
    prompt = max(1, length - answer)
    width = 4 if dtype == "float32" else 2
    forward = passes(shape.described, FullOptions(), How(dtype, False, False, True)).forward
    return Measuring(
        weights=width * shape.parameters,
        answers=answering(shape.described, dtype).peak(rows, prompt, answer),
        losses=_losses(shape.described.get_text_config(), rows, length, forward, 2 if width == 4 else 2.5),
    )


def free_bytes(device: str) -> int | None:
    """Free memory of the GPU, or available RAM (MemAvailable of /proc/meminfo); None where it can't be told."""
    if device == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
        return int(free)
    if device == "mps":
        import torch

        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
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
    """The smallest change that fits, in words; it keeps what is computed where one can."""

    def fits(changed: TrainConfig, how: Plan) -> bool:
        # Other weights are of another shape, which is planned anew.
        return changed.weights == config.weights and estimate(shape, changed, how, available).fits

    same, others = smallest_that(fits, config, plan)
    found = same or next(iter(others), None)
    if found is not None:
        return f"set {found.words} ({found.price})"
    lighter = weights_of(config.weights).lighter
    if lighter is not None:
        return f"set {lighter.replace('=', ': ')}, or take a smaller model or a lower max_length"
    return "take a smaller model, a lower max_length, or a device with more memory"
